//! Numbers as Go and Prometheus's templates write them.

/// As `%v` writes a float: all its digits, with an exponent below 1e-4 and from 1e21 on.
pub(super) fn plain(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let (digits, exponent) = parts(&format!("{value:e}"));
    let text = if (-4..21).contains(&exponent) { format!("{value}") } else { scientific(&digits, exponent) };
    with_sign(value, text.trim_start_matches('-'))
}

/// As `%.{places}f`.
pub(super) fn fixed(value: f64, places: usize) -> String {
    special(value).map_or_else(|| format!("{value:.places$}"), ToOwned::to_owned)
}

/// As `%.{significant}g`: so many digits, none of them a zero at the end.
pub(super) fn significant(value: f64, significant: usize) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    if value == 0.0 {
        return with_sign(value, "0");
    }
    let most = significant.max(1);
    let (digits, exponent) = parts(&format!("{:.*e}", most - 1, value.abs()));
    let digits = digits.trim_end_matches('0');
    let all = i32::try_from(most).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= all {
        return with_sign(value, &scientific(digits, exponent));
    }
    let places =
        usize::try_from((i32::try_from(digits.len()).unwrap_or(all) - 1 - exponent).max(0)).unwrap_or(0);
    with_sign(value, &format!("{:.places$}", value.abs()))
}

/// `humanize`: with metric prefixes.
pub(super) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return significant(value, 4);
    }
    let (value, prefix) = if value.abs() >= 1.0 {
        scaled(value, &["", "k", "M", "G", "T", "P", "E", "Z", "Y"], |v| v.abs() >= 1000.0, |v| v / 1000.0)
    } else {
        small(value)
    };
    significant(value, 4) + prefix
}

/// `humanize1024`: with prefixes of powers of 1024.
pub(super) fn humanize1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return significant(value, 4);
    }
    let prefixes = ["", "ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
    let (value, prefix) = scaled(value, &prefixes, |v| v.abs() >= 1024.0, |v| v / 1024.0);
    significant(value, 4) + prefix
}

/// `humanizePercentage`: of a ratio.
pub(super) fn percentage(value: f64) -> String {
    significant(value * 100.0, 4) + "%"
}

/// `humanizeDuration`: of seconds.
pub(super) fn duration(value: f64) -> String {
    if !value.is_finite() {
        return significant(value, 4);
    }
    if value == 0.0 {
        return "0s".to_owned();
    }
    if value.abs() < 1.0 {
        let (value, prefix) = small(value);
        return format!("{}{prefix}s", significant(value, 4));
    }
    let (sign, value) = if value < 0.0 { ("-", -value) } else { ("", value) };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive; a float beyond the range becomes its end"
    )]
    let whole = value as u64;
    let (seconds, minutes, hours, days) = (whole % 60, whole / 60 % 60, whole / 3600 % 24, whole / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", significant(value, 4)),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

fn special(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

fn scaled<'a>(
    mut value: f64,
    prefixes: &[&'a str],
    wants_more: impl Fn(f64) -> bool,
    next: impl Fn(f64) -> f64,
) -> (f64, &'a str) {
    let mut last = "";
    for (n, prefix) in prefixes.iter().enumerate() {
        last = prefix;
        if n + 1 == prefixes.len() || !wants_more(value) {
            break;
        }
        value = next(value);
    }
    (value, last)
}

fn small(value: f64) -> (f64, &'static str) {
    let prefixes = ["", "m", "u", "n", "p", "f", "a", "z", "y"];
    scaled(value, &prefixes, |v| v.abs() < 1.0, |v| v * 1000.0)
}

/// Digits without their point, and the exponent, of Rust's scientific form.
fn parts(text: &str) -> (String, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    (mantissa.chars().filter(char::is_ascii_digit).collect(), exponent.parse().unwrap_or(0))
}

fn scientific(digits: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
    let point = if rest.is_empty() { "" } else { "." };
    format!("{first}{point}{rest}e{sign}{:02}", exponent.abs())
}

fn with_sign(value: f64, text: &str) -> String {
    if value.is_sign_negative() { format!("-{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers are those of Go's fmt and of Prometheus's template tests.
    #[test]
    fn numbers_are_written_as_prometheus_writes_them() {
        let four = [
            (12.0, "12"),
            (0.12345, "0.1235"),
            (1234.5, "1234"),
            (99999.0, "1e+05"),
            (0.0, "0"),
            (1e-5, "1e-05"),
        ];
        for (value, text) in four {
            assert_eq!(significant(value, 4), text);
        }
        for (value, text) in [
            (1e21, "1e+21"),
            (123_456.75, "123456.75"),
            (1e-5, "1e-05"),
            (-0.5, "-0.5"),
            (1.5e300, "1.5e+300"),
        ] {
            assert_eq!(plain(value), text);
        }
        let humanized = [
            (0.0, "0"),
            (1.0, "1"),
            (1_234_567.0, "1.235M"),
            (0.12, "120m"),
            (-2300.0, "-2.3k"),
            (1e27, "1000Y"),
            (1e-26, "0.01y"),
        ];
        for (value, text) in humanized {
            assert_eq!(humanize(value), text);
        }
        for (value, text) in
            [(0.0, "0"), (1.0, "1"), (1_048_576.0, "1Mi"), (0.12, "0.12"), (1500.0, "1.465ki")]
        {
            assert_eq!(humanize1024(value), text);
        }
        let durations = [
            (0.0, "0s"),
            (1.0, "1s"),
            (60.0, "1m 0s"),
            (3600.0, "1h 0m 0s"),
            (86400.0, "1d 0h 0m 0s"),
            (86400.0 + 3600.0, "1d 1h 0m 0s"),
            (-(86400.0 * 2.0 + 3600.0 * 3.0 + 60.0 * 4.0 + 5.0), "-2d 3h 4m 5s"),
            (0.1, "100ms"),
            (0.0001, "100us"),
            (899.99, "14m 59s"),
            (59.999, "60s"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in durations {
            assert_eq!(duration(value), text);
        }
        assert_eq!(percentage(0.123_456), "12.35%");
        assert_eq!((fixed(1.005, 1), fixed(f64::INFINITY, 2)), ("1.0".to_owned(), "+Inf".to_owned()));
    }
}
