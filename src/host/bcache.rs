//! The texts of bcache: amounts for people, and its table about writing back.
//!
//! Source: `Documentation/admin-guide/bcache.rst`, `drivers/md/bcache/util.c` (`bch_hprint`).

use super::parse::{ParseError, lines, number};

const UNITS: [char; 8] = ['k', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y'];

/// An amount such as `20.4G` or `-512`. The digits behind the point are 1024ths divided by a hundred, so that `.9` comes
/// before `.10`; node_exporter computes as this does, which is as near as the text allows.
pub fn amount(text: &str) -> Result<f64, ParseError> {
    let wrong = || ParseError::new(1, "an amount such as `20.4G`");
    let text = text.trim();
    let (sign, text) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    let unit = text.chars().last().filter(|c| !c.is_ascii_digit());
    let Some(unit) = unit else {
        return text.parse::<u64>().map(|whole| sign * whole as f64).map_err(|_| wrong());
    };
    let power = UNITS.iter().zip(1..).find(|(known, _)| **known == unit).ok_or_else(wrong)?.1;
    let digits = text.strip_suffix(unit).unwrap_or_default();
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, "0"));
    let (whole, rest): (u32, u32) = (number(Some(whole), 1, "digits")?, number(Some(rest), 1, "digits")?);
    Ok(sign * ((f64::from(whole) + f64::from(rest) / 10.24) * 1024_f64.powi(power)).trunc())
}

/// The names in `writeback_rate_debug` that are read.
const WRITEBACK: [&str; 5] = ["target", "rate", "proportional", "integral", "change"];

/// What bcache says about writing back, in the order of target, rate, proportional and integral term, and change; in
/// bytes (a second).
pub fn writeback(text: &str) -> Result<[Option<f64>; 5], ParseError> {
    let mut out = [None; 5];
    for (n, line) in lines(text) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let slot = WRITEBACK.iter().zip(&mut out).find(|(known, _)| **known == name);
        let Some((_, slot)) = slot else { continue };
        let value = value.trim();
        let value = amount(value.strip_suffix("/sec").unwrap_or(value));
        *slot = Some(value.map_err(|_| ParseError::new(n, "a name and an amount such as `20.4G`"))?);
    }
    Ok(out)
}

/// How much of a cache is not used, and how much holds metadata, in percent (`priority_stats`).
pub fn priorities(text: &str) -> Result<[Option<u64>; 2], ParseError> {
    let mut out = [None; 2];
    for (n, line) in lines(text) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let [unused, metadata] = &mut out;
        let slot = match name {
            "Unused" => unused,
            "Metadata" => metadata,
            _ => continue,
        };
        *slot = Some(number(value.trim().strip_suffix('%'), n, "a whole number and `%`")?);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units_and_1024ths() {
        for (text, value) in [
            ("0\n", 0.0),
            ("512", 512.0),
            ("1.1M/s".trim_end_matches("/s"), 1_150_976.0),
            ("20.4G", 21_894_266_880.0),
            ("427.5k", 437_748.0),
            ("-1k", -1024.0),
            ("-7", -7.0),
        ] {
            assert!((amount(text).unwrap() - value).abs() < 0.5, "{text}: {:?}", amount(text));
        }
        for text in ["", "k", "1x", "1.2.3k", "x", "--1", "1.-1k", "inf"] {
            assert!(amount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_table_about_writing_back_may_have_gaps() {
        let text = "rate:\t\t1.0k/sec\ndirty:\t\t20.4G\ntarget:\t\t2k\nproportional:\t-1k\nchange:\t\t0/sec\nnext io:\t17ms\n";
        assert_eq!(writeback(text), Ok([Some(2048.0), Some(1024.0), Some(-1024.0), None, Some(0.0)]));
        assert!(writeback("rate: 1\ntarget: much\n").unwrap_err().to_string().starts_with("line 2:"));
    }

    #[test]
    fn priorities_are_percent() {
        let text = "Unused:\t\t99%\nMetadata:\t1%\nAverage:\t10473\nQuantiles:\t[0 1]\n";
        assert_eq!(priorities(text), Ok([Some(99), Some(1)]));
        assert_eq!(priorities(""), Ok([None, None]));
        assert!(priorities("Unused: 99\n").is_err());
    }
}
