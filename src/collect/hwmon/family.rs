//! What node_exporter calls the values of a sensor, and the unit of each.

use crate::collect::board::{Cell, Parse, put};
use crate::collect::family::Named;
use crate::host::ParseError;
use crate::host::hwmon::clean;
use crate::metric::{Desc, Kind, Value};

const LABELS: &[&str] = &["chip", "sensor"];
const BEEP: Desc<'static> = Desc::gauge("node_hwmon_beep_enabled", "Hardware beep enabled", LABELS);
const REGULATOR: Desc<'static> =
    Desc::gauge("node_hwmon_voltage_regulator_version", "Hardware voltage regulator", LABELS);
const INTERVAL: Desc<'static> =
    Desc::gauge("node_hwmon_update_interval_seconds", "Hardware monitor update interval", LABELS);

/// The family of one property of a sensor, and how its text is read. `plain` says whether the sensor has a file without
/// a property.
pub(super) fn of(kind: &str, property: &str, plain: bool) -> Option<(Named, Parse)> {
    match (kind, property) {
        ("beep_enable", "") => return Some(((&BEEP).into(), flag)),
        ("vrm", "") => return Some(((&REGULATOR).into(), number)),
        ("update_interval", "") => return Some(((&INTERVAL).into(), thousandths)),
        ("beep_enable" | "vrm" | "update_interval", _) => return None,
        _ => {}
    }
    let stem = match property {
        "" => format!("node_hwmon_{kind}"),
        // The input is the value itself, unless another file is that.
        "input" if !plain => format!("node_hwmon_{kind}"),
        _ => format!("node_hwmon_{kind}_{}", clean(property)),
    };
    let (suffix, parse, help): (&str, Parse, String) = match (kind, property) {
        (_, "fault" | "alarm") => ("", number, format!("Hardware sensor {property} status ({kind})")),
        (_, "beep") => ("_enabled", number, "Hardware monitor sensor has beeping enabled".into()),
        ("in" | "cpu", _) => ("_volts", thousandths, format!("Hardware monitor for voltage ({property})")),
        ("temp", "" | "input") => {
            ("_celsius", thousandths, "Hardware monitor for temperature (input)".into())
        }
        ("temp", property) if property != "type" => {
            ("_celsius", thousandths, format!("Hardware monitor for temperature ({property})"))
        }
        ("curr", _) => ("_amps", thousandths, format!("Hardware monitor for current ({property})")),
        ("energy", _) => {
            ("_joule_total", millionths, format!("Hardware monitor for joules used so far ({property})"))
        }
        ("power", "accuracy") => ("", millionths, "Hardware monitor power meter accuracy, as a ratio".into()),
        ("power", "average_interval" | "average_interval_min" | "average_interval_max") => {
            ("_seconds", thousandths, format!("Hardware monitor power usage update interval ({property})"))
        }
        ("power", _) => {
            ("_watt", millionths, format!("Hardware monitor for power usage in watts ({property})"))
        }
        ("humidity", _) => (
            "",
            millionths,
            format!(
                "Hardware monitor for humidity, as a ratio (multiply with 100.0 to get the humidity as a \
                 percentage) ({property})"
            ),
        ),
        ("fan", "input" | "min" | "max" | "target") => {
            ("_rpm", number, format!("Hardware monitor for fan revolutions per minute ({property})"))
        }
        ("freq", "input") => ("_freq_mhz", millionths, "Hardware monitor for GPU frequency in MHz".into()),
        _ => ("", number, format!("Hardware monitor {kind} element {property}")),
    };
    let counter = kind == "energy" && suffix == "_joule_total";
    let kind = if counter { Kind::Counter } else { Kind::Gauge };
    Some((Named::new(stem + suffix, help, kind, LABELS), parse))
}

/// What is no number is absent: some drivers write words where they have no value.
fn take(text: &str, cells: &mut [Cell], scale: fn(f64) -> f64) {
    put(cells, 0, text.trim().parse().ok().map(|value: f64| Value::F64(scale(value))));
}

#[expect(clippy::unnecessary_wraps, reason = "the form that all parsers have")]
fn number(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    take(text, cells, |value| value);
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "the form that all parsers have")]
fn thousandths(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    take(text, cells, |value| value * 0.001);
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "the form that all parsers have")]
fn millionths(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    take(text, cells, |value| value / 1e6);
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "the form that all parsers have")]
fn flag(text: &str, cells: &mut [Cell]) -> Result<(), ParseError> {
    put(cells, 0, Some(Value::U64(u64::from(text.trim() == "1"))));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_what_is_measured() {
        for (kind, property, plain, name) in [
            ("temp", "input", false, "node_hwmon_temp_celsius"),
            ("temp", "type", false, "node_hwmon_temp_type"),
            ("temp", "crit_alarm", false, "node_hwmon_temp_crit_alarm_celsius"),
            ("in", "input", false, "node_hwmon_in_volts"),
            ("in", "alarm", false, "node_hwmon_in_alarm"),
            ("fan", "input", false, "node_hwmon_fan_rpm"),
            ("fan", "beep", false, "node_hwmon_fan_beep_enabled"),
            ("pwm", "", true, "node_hwmon_pwm"),
            ("pwm", "input", true, "node_hwmon_pwm_input"),
            ("power", "average", false, "node_hwmon_power_average_watt"),
            ("power", "average_interval", false, "node_hwmon_power_average_interval_seconds"),
            ("power", "accuracy", false, "node_hwmon_power_accuracy"),
            ("energy", "input", false, "node_hwmon_energy_joule_total"),
            ("humidity", "input", false, "node_hwmon_humidity"),
            ("update_interval", "", true, "node_hwmon_update_interval_seconds"),
        ] {
            assert_eq!(of(kind, property, plain).unwrap().0.name, name);
        }
        assert_eq!(of("energy", "input", false).unwrap().0.kind, Kind::Counter);
        assert!(of("vrm", "x", false).is_none());
    }

    #[test]
    fn a_word_is_no_value() {
        let mut cells = [None];
        thousandths("N/A\n", &mut cells).unwrap();
        assert!(cells[0].is_none());
        thousandths("55000\n", &mut cells).unwrap();
        assert!(matches!(cells[0], Some(Value::F64(value)) if (value - 55.0).abs() < 1e-9));
    }
}
