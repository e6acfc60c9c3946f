//! The texts of an InfiniBand port: its states and its rate.
//!
//! Source: `Documentation/ABI/stable/sysfs-class-infiniband`.

use super::parse::{ParseError, number};

/// The number of a state such as `4: ACTIVE`.
pub fn state(text: &str) -> Result<u64, ParseError> {
    const WANT: &str = "`number: NAME`";
    let (id, name) = text.split_once(':').ok_or_else(|| ParseError::new(1, WANT))?;
    if name.contains(':') {
        return Err(ParseError::new(1, WANT));
    }
    number::<u32>(Some(id.trim()), 1, WANT).map(u64::from)
}

/// A rate such as `100 Gb/sec (4X EDR)`, in bytes a second.
pub fn bytes_per_second(text: &str) -> Result<u64, ParseError> {
    const WANT: &str = "a rate such as `2.5 Gb/sec (1X SDR)`";
    // The kernel's rates have at most one decimal; tenths are exact as whole numbers.
    let (gigabits, _) = text.split_once(' ').ok_or_else(|| ParseError::new(1, WANT))?;
    let (whole, tenth) = gigabits.split_once('.').unwrap_or((gigabits, "0"));
    let (whole, tenth): (u32, u8) = (number(Some(whole), 1, WANT)?, number(Some(tenth), 1, WANT)?);
    if tenth > 9 {
        return Err(ParseError::new(1, WANT));
    }
    Ok((u64::from(whole) * 10 + u64::from(tenth)) * 12_500_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_its_number() {
        assert_eq!((state("4: ACTIVE"), state("5: LinkUp\n")), (Ok(4), Ok(5)));
        for text in ["", "ACTIVE", "x: ACTIVE", "4: A: B", "-1: DOWN"] {
            assert!(state(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_is_bytes_per_second() {
        assert_eq!(bytes_per_second("40 Gb/sec (4X QDR)"), Ok(5_000_000_000));
        assert_eq!(bytes_per_second("2.5 Gb/sec (1X SDR)"), Ok(312_500_000));
        for text in ["", "40", "fast Gb/sec", "2.55 Gb/sec", "-1 Gb/sec"] {
            assert!(bytes_per_second(text).is_err(), "{text}");
        }
    }
}
