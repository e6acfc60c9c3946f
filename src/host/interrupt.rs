//! Interrupts by processor: /proc/interrupts and /proc/softirqs.
//!
//! Source: `Documentation/filesystems/proc.rst`.

use super::parse::{ParseError, lines, number};

/// One interrupt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupt<'a> {
    /// The number of a device's interrupt, or the letters of one of the kernel's own.
    pub name: &'a str,
    /// The controller and the kind, or what the letters mean.
    pub info: String,
    /// The devices that use it.
    pub devices: String,
    /// How often each processor served it.
    pub counts: Vec<u64>,
}

/// The interrupts of /proc/interrupts. Those without a count for each processor (`ERR`, `MIS`) are left out.
pub fn interrupts(text: &str) -> Result<Vec<Interrupt<'_>>, ParseError> {
    let mut all = lines(text);
    let (_, head) = all.next().ok_or_else(|| ParseError::new(1, "a head that names the processors"))?;
    let cpus = head.split_ascii_whitespace().count();
    let mut out = Vec::new();
    for (n, line) in all {
        // On some machines nothing stands between the colon and the first number.
        let Some((name, rest)) = line.split_once(':') else { continue };
        let mut words = rest.split_ascii_whitespace();
        if words.clone().count() <= cpus {
            continue;
        }
        let counts =
            words.by_ref().take(cpus).map(|word| number(Some(word), n, "a whole number for each processor"));
        let counts = counts.collect::<Result<_, _>>()?;
        let name = name.trim_start();
        let words: Vec<&str> = words.collect();
        let of_device = name.parse::<i64>().is_ok();
        let (info, devices) = words.split_at(if of_device { 1 } else { words.len() });
        out.push(Interrupt { name, info: info.join(" "), devices: devices.join(" "), counts });
    }
    Ok(out)
}

/// The counts of each processor for each kind of soft interrupt in /proc/softirqs.
pub fn softirqs(text: &str) -> Result<Vec<(&str, Vec<u64>)>, ParseError> {
    const WANT: &str = "`NAME:` and whole numbers";
    lines(text)
        .skip(1)
        .map(|(n, line)| {
            let (name, counts) = line.split_once(':').ok_or_else(|| ParseError::new(n, WANT))?;
            let counts = counts.split_ascii_whitespace().map(|word| number(Some(word), n, WANT));
            Ok((name.trim(), counts.collect::<Result<_, _>>()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_a_controller_and_the_kernels_own_have_a_meaning() {
        let text = "      CPU0  CPU1\n 16:    3 4  IR-IO-APIC-fasteoi   usb1, mmc0\nNMI:4294967295 0   Non-maskable interrupts\nERR: 0\n";
        let all = interrupts(text).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].name, all[0].info.as_str()), ("16", "IR-IO-APIC-fasteoi"));
        assert_eq!((all[0].devices.as_str(), all[0].counts.as_slice()), ("usb1, mmc0", [3, 4].as_slice()));
        assert_eq!((all[1].info.as_str(), all[1].devices.as_str()), ("Non-maskable interrupts", ""));
        assert!(interrupts("").is_err());
        assert!(interrupts("CPU0\n1: x y z\n").unwrap_err().to_string().starts_with("line 2:"));
    }

    #[test]
    fn soft_interrupts_are_counted_by_processor() {
        assert_eq!(softirqs("  CPU0 CPU1\n   HI:  7  1\n"), Ok(vec![("HI", vec![7, 1])]));
        assert!(softirqs("  CPU0\n   HI  7\n").is_err() && softirqs("  CPU0\n   HI: x\n").is_err());
    }
}
