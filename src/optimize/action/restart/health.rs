//! Whether a target serves again after its restart.

use super::{Waiting, until};
use crate::client::{self, Call};
use crate::optimize::action::app_hook::command;
use crate::optimize::policy::restart::Health;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// One try's time.
const TRY_TIME_MAX: Duration = Duration::from_secs(5);

/// Tries until it does.
pub(super) fn wait(health: &Health, waiting: &Waiting<'_>) -> Result<(), String> {
    let mut last = String::new();
    let healthy = until(waiting, "it is healthy", || {
        last = match ask(health, waiting) {
            Ok(()) => return Ok(Some(())),
            Err(why) => why,
        };
        Ok(None)
    });
    healthy.map_err(|why| format!("{why}: {last}"))
}

fn ask(health: &Health, waiting: &Waiting<'_>) -> Result<(), String> {
    if let Some(url) = &health.http {
        let call = Call { deadline: TRY_TIME_MAX, ..Call::get(url) };
        let answer = client::send_watched(call, &|| waiting.watch.end()).map_err(|e| e.to_string())?;
        let (shown, status) = (client::shown(url), answer.status());
        return if status.is_success() { Ok(()) } else { Err(format!("{shown} answered {status}")) };
    }
    if let Some(place) = &health.tcp {
        let all = place.to_socket_addrs().map_err(|e| format!("{place}: {e}"))?;
        let mut why = format!("{place} is no address");
        for address in all {
            match TcpStream::connect_timeout(&address, TRY_TIME_MAX) {
                Ok(_) => return Ok(()),
                Err(e) => why = format!("{place}: {e}"),
            }
        }
        return Err(why);
    }
    command::start(&health.command, &[], TRY_TIME_MAX, waiting.watch).map(|_| ())
}
