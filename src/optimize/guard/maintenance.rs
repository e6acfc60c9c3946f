//! Maintenance windows: times of the week in which nothing is done.

use crate::host::read_bytes_once;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;
use std::path::Path;

/// Where systems describe time zones.
const ZONES: &str = "/usr/share/zoneinfo";

/// A time of the week in which nothing is done.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Window {
    /// The days on which it begins.
    days: Vec<Weekday>,
    from: Time,
    /// Not after `from` means on the next day.
    to: Time,
    zone: TimeZone,
}

/// The same as a file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    days: Vec<String>,
    from: String,
    to: String,
    #[serde(default = "utc")]
    time_zone: String,
}

fn utc() -> String {
    "UTC".into()
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

impl TryFrom<Written> for Window {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let day = |name: &String| {
            let known = DAYS.iter().find(|(short, _)| *short == name.to_lowercase());
            known.map(|(_, day)| *day).ok_or_else(|| format!("days: {name:?} is none of mon, tue, … sun"))
        };
        let time = |key: &str, text: &str| {
            let shaped = text.len() == 5 && text.as_bytes().get(2) == Some(&b':');
            let time = text.parse::<Time>().ok().filter(|_| shaped);
            time.ok_or_else(|| format!("{key}: {text:?} is no time of the day, such as 22:30"))
        };
        let zone = match written.time_zone.as_str() {
            "UTC" => TimeZone::UTC,
            "local" => TimeZone::system(),
            name => named(name).map_err(|why| format!("time_zone: {name:?}: {why}"))?,
        };
        let days = written.days.iter().map(day).collect::<Result<Vec<_>, _>>()?;
        let days = if days.is_empty() { DAYS.map(|(_, day)| day).to_vec() } else { days };
        Ok(Self { days, from: time("from", &written.from)?, to: time("to", &written.to)?, zone })
    }
}

/// The system's own description of a time zone (RFC 9636), by its name (`Europe/Berlin`). It is read by itself: a library's
/// database of zones would look through all of them, for each process that only wants to know its own.
fn named(name: &str) -> Result<TimeZone, String> {
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b))
    };
    if !name.split('/').all(plain) {
        return Err("no name of a time zone, such as Europe/Berlin".into());
    }
    let path = Path::new(ZONES).join(name);
    let bytes = read_bytes_once(&path).map_err(|e| e.to_string())?;
    let bytes = bytes.ok_or_else(|| format!("there is no {}", path.display()))?;
    TimeZone::tzif(name, &bytes).map_err(|e| e.to_string())
}

impl Window {
    /// When the window that lies around `now` ends; `None` if none does. Milliseconds since the epoch.
    fn end(&self, now: i64) -> Option<i64> {
        let now = Timestamp::from_millisecond(now).ok()?;
        let today = now.to_zoned(self.zone.clone()).date();
        // What began yesterday may go on.
        [Some(today), today.yesterday().ok()].into_iter().flatten().find_map(|date| {
            if !self.days.contains(&date.weekday()) {
                return None;
            }
            let until = if self.to > self.from { date } else { date.checked_add(1.day()).ok()? };
            // A time that the clock leaves out on a day is the one just after the gap.
            let from = date.to_datetime(self.from).to_zoned(self.zone.clone()).ok()?.timestamp();
            let until = until.to_datetime(self.to).to_zoned(self.zone.clone()).ok()?.timestamp();
            (from <= now && now < until).then(|| until.as_millisecond())
        })
    }
}

/// When the windows that lie around `now` are over; `None` outside of all. Milliseconds since the epoch.
pub fn until(windows: &[Window], now: i64) -> Option<i64> {
    windows.iter().filter_map(|w| w.end(now)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(text: &str) -> Window {
        serde_json::from_str(text).unwrap()
    }

    /// When the window ends, as text, at a time as text; empty outside of it.
    fn end(window: &Window, now: &str) -> String {
        let now: Timestamp = now.parse().unwrap();
        let end = until(std::slice::from_ref(window), now.as_millisecond());
        end.map(|e| Timestamp::from_millisecond(e).unwrap().to_string()).unwrap_or_default()
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
        let w = window(r#"{"days": ["fri"], "from": "22:00", "to": "06:00"}"#);
        // 2026-11-20 is a Friday.
        assert_eq!(end(&w, "2026-11-20T21:59:59Z"), "");
        assert_eq!(end(&w, "2026-11-20T22:00:00Z"), "2026-11-21T06:00:00Z");
        assert_eq!(end(&w, "2026-11-21T05:59:59Z"), "2026-11-21T06:00:00Z");
        assert_eq!(end(&w, "2026-11-21T06:00:00Z"), "");
        assert_eq!(end(&w, "2026-11-21T22:00:00Z"), "", "Saturday");
        assert_eq!(end(&w, "2026-11-20T03:00:00Z"), "", "Thursday's night");
    }

    #[test]
    fn a_window_follows_its_zone_through_the_change_of_the_clock() {
        let w = window(r#"{"from": "01:00", "to": "04:00", "time_zone": "Europe/Berlin"}"#);
        assert_eq!(end(&w, "2026-01-10T00:00:00Z"), "2026-01-10T03:00:00Z");
        assert_eq!(end(&w, "2026-07-10T00:00:00Z"), "2026-07-10T02:00:00Z");
        assert_eq!(end(&w, "2026-07-10T02:00:00Z"), "");
        // The night in which an hour is left out, and the one in which it comes twice.
        assert_eq!(end(&w, "2026-03-29T00:30:00Z"), "2026-03-29T02:00:00Z");
        assert_eq!(end(&w, "2026-10-25T02:59:00Z"), "2026-10-25T03:00:00Z");
        // An end that is left out, 02:30, is an hour later.
        let gap = window(r#"{"from": "01:00", "to": "02:30", "time_zone": "Europe/Berlin"}"#);
        assert_eq!(end(&gap, "2026-03-29T00:30:00Z"), "2026-03-29T01:30:00Z");
    }

    #[test]
    fn the_same_time_twice_is_a_whole_day_and_of_several_windows_the_last_end_counts() {
        let day = window(r#"{"days": ["Sat"], "from": "00:00", "to": "00:00"}"#);
        assert_eq!(end(&day, "2026-11-21T12:00:00Z"), "2026-11-22T00:00:00Z");
        let short = window(r#"{"from": "11:00", "to": "13:00"}"#);
        let now = "2026-11-21T12:00:00Z".parse::<Timestamp>().unwrap().as_millisecond();
        assert_eq!(until(&[short.clone(), day.clone()], now), until(&[day], now));
        assert_eq!(until(&[], now), None);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| serde_json::from_str::<Window>(text).unwrap_err().to_string();
        assert!(error(r#"{"days": ["someday"], "from": "01:00", "to": "02:00"}"#).contains("someday"));
        assert!(error(r#"{"from": "25:00", "to": "02:00"}"#).contains("from"));
        assert!(error(r#"{"from": "01:00", "to": "2"}"#).contains("to:"));
        assert!(error(r#"{"from": "01:00", "to": "02:00", "time_zone": "Mars/Base"}"#).contains("time_zone"));
        let name =
            |name: &str| error(&format!(r#"{{"from": "01:00", "to": "02:00", "time_zone": "{name}"}}"#));
        assert!(name("../../etc/passwd").contains("no name of a time zone"));
        assert!(name("Europe").contains("/usr/share/zoneinfo/Europe"));
        assert!(name("tzdata.zi").contains("no name of a time zone"));
        assert!(error(r#"{"from": "01:00", "until": "02:00"}"#).contains("until"));
    }
}
