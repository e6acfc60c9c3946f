//! The names of hardware monitors' files, taken apart as node_exporter does.
//!
//! Source: `Documentation/hwmon/sysfs-interface.rst`.

/// A file's name: `temp1_crit_alarm` is of the sensor `temp` 1 and has the property `crit_alarm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SensorFile<'a> {
    /// What is measured.
    pub kind: &'a str,
    /// Which of them; 0 where there is but one.
    pub number: u32,
    /// The rest; empty if there is none.
    pub property: &'a str,
}

/// What can be measured; all other files are about the chip.
const KINDS: [&str; 14] = [
    "vrm",
    "beep_enable",
    "update_interval",
    "in",
    "cpu",
    "fan",
    "pwm",
    "temp",
    "curr",
    "power",
    "energy",
    "humidity",
    "intrusion",
    "freq",
];

/// Takes a file's name apart; `None` if it is not of a sensor.
pub fn sensor_file(name: &str) -> Option<SensorFile<'_>> {
    let digits_at = name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len());
    let (kind, rest) = name.split_at(digits_at);
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = rest.split_at(digits);
    let number = if number.is_empty() { 0 } else { number.parse().ok()? };
    let property = if rest.is_empty() { "" } else { rest.strip_prefix('_').filter(|p| !p.is_empty())? };
    KINDS.contains(&kind).then_some(SensorFile { kind, number, property })
}

/// A name as a label or a part of a metric's name: small letters, digits, and `_` for all else.
pub fn clean(name: &str) -> String {
    let letter = |c: char| if matches!(c, 'a'..='z' | '0'..='9' | ':' | '_') { c } else { '_' };
    let whole: String = name.to_lowercase().chars().map(letter).collect();
    whole.trim_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        for (name, kind, number, property) in [
            ("temp1_crit_alarm", "temp", 1, "crit_alarm"),
            ("pwm1", "pwm", 1, ""),
            ("pwm12_auto_point1_pwm", "pwm", 12, "auto_point1_pwm"),
            ("update_interval", "update_interval", 0, ""),
            ("in0_input", "in", 0, "input"),
        ] {
            assert_eq!(sensor_file(name), Some(SensorFile { kind, number, property }), "{name}");
        }
        for name in ["name", "temp1x", "temp1_", "", "1", "temp99999999999_input", "in_reset_history"] {
            assert_eq!(sensor_file(name), None, "{name}");
        }
    }

    #[test]
    fn names_are_cleaned() {
        assert_eq!(clean("coretemp.0"), "coretemp_0");
        assert_eq!(clean("0000:01:00.0\n"), "0000:01:00_0");
        assert_eq!(clean("_Ä_"), "");
    }
}
