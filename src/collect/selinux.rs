//! The collector of SELinux: whether it is on, and how strict it is and should be (`node_selinux_*`).

use super::{CollectError, Collector, Entry};
use crate::host::{Host, Kept, parse};
use crate::metric::{Desc, Sink, Value, single};

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "selinux",
    on: true,
    make: |host, _| {
        Ok(Box::new(Selinux {
            enforce: host.sys_file("fs/selinux/enforce"),
            label: host.proc_file("thread-self/attr/current"),
            config: Kept::new(host.root_path("/etc/selinux/config")),
        }))
    },
};

const ENABLED: Desc<'static> =
    Desc::gauge("node_selinux_enabled", "SELinux is enabled, 1 is true, 0 is false", &[]);
const CONFIG: Desc<'static> =
    Desc::gauge("node_selinux_config_mode", "Configured SELinux enforcement mode", &[]);
const CURRENT: Desc<'static> =
    Desc::gauge("node_selinux_current_mode", "Current SELinux enforcement mode", &[]);

struct Selinux {
    /// There if the kernel has SELinux and a policy may be loaded.
    enforce: Kept,
    /// The label of this process: `kernel` as long as no policy is loaded.
    label: Kept,
    config: Kept,
}

impl Collector for Selinux {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        let current = self.enforce.parse(|text| parse::number::<u64>(Some(text.trim()), 1, "0 or 1"))?;
        let unlabelled =
            |label: &[u8]| matches!(label.trim_ascii_end(), b"kernel" | b"kernel\0" | b"kernel\n\0");
        let mut idle = || matches!(self.label.read_bytes(), Ok(Some(label)) if unlabelled(label));
        let Some(current) = current.filter(|_| !idle()) else {
            single(out, &ENABLED, 0_u64);
            return Ok(());
        };
        // The file is edited by people, and replaced: it is looked at by its path.
        let config = Kept::new(self.config.path().to_owned()).parse(|text| Ok(configured(text)))?.flatten();
        single(out, &ENABLED, 1_u64);
        if let Some(mode) = config {
            single(out, &CONFIG, mode);
        }
        single(out, &CURRENT, current);
        Ok(())
    }
}

/// What /etc/selinux/config asks for: 1 enforcing, 0 permissive, -1 disabled; absent if it asks for nothing.
fn configured(text: &str) -> Option<Value<'static>> {
    let mut modes = text.lines().filter_map(|line| line.trim().strip_prefix("SELINUX"));
    let mode = modes.find_map(|rest| rest.trim_start().strip_prefix('='));
    mode.and_then(|mode| match mode.trim() {
        "enforcing" => Some(Value::U64(1)),
        "permissive" => Some(Value::U64(0)),
        "disabled" => Some(Value::F64(-1.0)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_mode_is_a_number_or_absent() {
        for (text, want) in [
            ("# SELINUX=disabled\nSELINUX=enforcing\nSELINUXTYPE=targeted\n", Some("U64(1)")),
            (" SELINUX = permissive \n", Some("U64(0)")),
            ("SELINUXTYPE=mls\nSELINUX=disabled\n", Some("F64(-1.0)")),
            ("SELINUX=maybe\n", None),
            ("", None),
        ] {
            let mode = configured(text).map(|mode| format!("{mode:?}"));
            assert_eq!(mode.as_deref(), want, "{text}");
        }
    }
}
