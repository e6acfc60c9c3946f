//! node_exporter's flags on the command line of `headroom exporter`: taken out before clap reads the rest.

use super::flags::{COLLECTORS, FLAGS, Flag, Said, WITHOUT_EFFECT};
use crate::collect::{OptionError, Options, REGISTRY};
use clap::{Arg, Command};
use std::ffi::OsString;
use std::iter::Peekable;
use std::vec::IntoIter;

/// What all of node_exporter's flags begin with that may be foreign here.
const PREFIXES: [&str; 4] = ["collector.", "web.", "path.", "runtime."];
/// A name that differs from a known one by at most so many letters, and by at most one in four, is a slip.
const SLIP_EDITS_MAX: usize = 2;

/// What node_exporter's flags say.
#[derive(Clone, Debug, Default)]
pub(super) struct Foreign {
    disable_defaults: bool,
    enabled: Vec<String>,
    disabled: Vec<String>,
    options: Vec<(&'static Flag, Said)>,
    /// Flags that have no effect here, to be named in a warning.
    pub unknown: Vec<String>,
}

impl Foreign {
    /// Puts the flags over what the configuration says about collectors.
    pub(super) fn apply(&self, options: &mut Options) {
        options.disable_defaults |= self.disable_defaults;
        options.disabled.retain(|name| !self.enabled.contains(name));
        options.enabled.extend(self.enabled.iter().cloned());
        options.disabled.extend(self.disabled.iter().cloned());
        for (flag, _) in &self.options {
            flag.clear(options);
        }
        for (flag, said) in &self.options {
            flag.apply(said, options);
        }
    }

    /// The error of an option in words of the flag that set it; as it is if none did.
    pub(super) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let Some(OptionError { key, why }) = error.downcast_ref() else { return error };
        let guilty = self.options.iter().find(|(flag, _)| flag.key().as_ref() == Some(key));
        match guilty {
            Some((flag, _)) => anyhow::anyhow!("--collector.{}: {why}", flag.name),
            None => error,
        }
    }
}

/// Takes node_exporter's flags that clap does not know out of the arguments of `headroom exporter`, so that its users can
/// keep their command line. What is neither its flag nor ours, and looks like one, is an error.
pub(super) fn split(arguments: Vec<OsString>, command: &Command) -> Result<(Vec<OsString>, Foreign), String> {
    let Some(exporter) = command.find_subcommand("exporter") else {
        return Ok((arguments, Foreign::default()));
    };
    let own = Own(command.get_arguments().chain(exporter.get_arguments()).collect());
    let mut rest = arguments.into_iter().peekable();
    let mut out: Vec<OsString> = rest.next().into_iter().collect();
    if !own.until_subcommand(&mut rest, &mut out) {
        return Ok((out.into_iter().chain(rest).collect(), Foreign::default()));
    }
    let mut foreign = Foreign::default();
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy().into_owned();
        let Some(body) = text.strip_prefix("--") else {
            out.push(argument);
            continue;
        };
        let (name, value) =
            body.split_once('=').map_or((body, None), |(name, value)| (name, Some(value.to_owned())));
        let positive = name.strip_prefix("no-").unwrap_or(name);
        if let Some(arg) = own.find(name) {
            out.push(argument);
            if arg.get_action().takes_values() && value.is_none() {
                out.extend(rest.next());
            }
        } else if PREFIXES.iter().any(|prefix| positive.starts_with(prefix)) {
            foreign.take(Argument { name, positive, value }, &mut rest, &own)?;
        } else {
            out.push(argument);
        }
    }
    Ok((out, foreign))
}

/// A flag as it was typed.
struct Argument<'a> {
    /// Without dashes.
    name: &'a str,
    /// Without `no-`, too.
    positive: &'a str,
    /// What stands behind `=`.
    value: Option<String>,
}

impl Argument<'_> {
    /// The value, which may be the next argument.
    fn value(&mut self, rest: &mut Peekable<IntoIter<OsString>>) -> Option<String> {
        self.value.take().or_else(|| {
            let next = rest.next_if(|next| !next.as_encoded_bytes().starts_with(b"-"))?;
            Some(next.to_string_lossy().into_owned())
        })
    }

    /// The value of a switch, which only `=` can bring.
    fn switch(&self) -> Result<bool, String> {
        let on = self.name == self.positive;
        match self.value.as_deref() {
            None | Some("true") => Ok(on),
            Some("false") => Ok(!on),
            Some(value) => Err(format!("--{}: `{value}` should be true or false", self.name)),
        }
    }
}

impl Foreign {
    fn take(
        &mut self,
        mut argument: Argument<'_>,
        rest: &mut Peekable<IntoIter<OsString>>,
        own: &Own<'_>,
    ) -> Result<(), String> {
        let Argument { name, positive, .. } = argument;
        let option = positive.strip_prefix("collector.").unwrap_or_default();
        if option == "disable-defaults" {
            self.disable_defaults = argument.switch()?;
        } else if REGISTRY.iter().any(|entry| entry.name == option) {
            let list = if argument.switch()? { &mut self.enabled } else { &mut self.disabled };
            list.push(option.to_owned());
        } else if let Some(flag) =
            FLAGS.iter().find(|flag| flag.name == option && may_negate(flag, &argument))
        {
            let value = if flag.is_switch() {
                argument.switch()?.to_string()
            } else {
                argument.value(rest).ok_or_else(|| format!("--{name}: a value is missing"))?
            };
            let said =
                flag.understand(&value).map_err(|want| format!("--{name}: `{value}` should be {want}"))?;
            self.options.push((flag, said));
        } else if let Some((_, wants)) = WITHOUT_EFFECT.iter().find(|(known, _)| *known == positive) {
            let value = if *wants { argument.value(rest) } else { argument.value.take() };
            self.unknown.push(typed(name, value));
        } else if COLLECTORS.contains(&option) {
            self.unknown.push(typed(name, argument.value.take()));
        } else if let Some(near) = own.nearest(positive) {
            return Err(format!("there is no flag `--{name}`; did you mean `--{near}`?"));
        } else {
            let value = argument.value(rest);
            self.unknown.push(typed(name, value));
        }
        Ok(())
    }
}

/// Only switches have a form with `no-`.
fn may_negate(flag: &Flag, argument: &Argument<'_>) -> bool {
    argument.name == argument.positive || flag.is_switch()
}

fn typed(name: &str, value: Option<String>) -> String {
    value.map_or_else(|| format!("--{name}"), |value| format!("--{name}={value}"))
}

/// The flags that clap knows, of every command and of the exporter.
struct Own<'a>(Vec<&'a Arg>);

impl<'a> Own<'a> {
    fn names(arg: &'a Arg) -> impl Iterator<Item = &'a str> {
        arg.get_long().into_iter().chain(arg.get_all_aliases().unwrap_or_default())
    }

    fn find(&self, name: &str) -> Option<&'a Arg> {
        self.0.iter().copied().find(|arg| Self::names(arg).any(|known| known == name))
    }

    /// Moves the arguments up to the name of the command; whether that is the exporter's.
    fn until_subcommand(&self, rest: &mut Peekable<IntoIter<OsString>>, out: &mut Vec<OsString>) -> bool {
        while let Some(argument) = rest.next() {
            let text = argument.to_string_lossy().into_owned();
            out.push(argument);
            let Some(name) = text.strip_prefix("--") else {
                if text.starts_with('-') {
                    continue;
                }
                return text == "exporter";
            };
            if self.find(name).is_some_and(|arg| arg.get_action().takes_values()) {
                out.extend(rest.next());
            }
        }
        false
    }

    /// The known name that `name` is a slip of.
    fn nearest(&self, name: &str) -> Option<String> {
        let collectors = REGISTRY.iter().map(|entry| entry.name).chain(COLLECTORS.iter().copied());
        let options = FLAGS.iter().map(|flag| flag.name).chain(["disable-defaults"]);
        let theirs = collectors.chain(options).map(|name| format!("collector.{name}"));
        let others = WITHOUT_EFFECT.iter().map(|(name, _)| *name);
        let own = self.0.iter().flat_map(|arg| Self::names(arg));
        let known = theirs.chain(own.chain(others).map(str::to_owned));
        let scored = known.map(|known| (strsim::damerau_levenshtein(name, &known), known));
        let (edits, near) = scored.min()?;
        let tail = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        (edits <= SLIP_EDITS_MAX.min(tail.len() / 4)).then_some(near)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;
    use std::time::Duration;

    fn split(arguments: &[&str]) -> Result<(Vec<String>, Foreign), String> {
        let arguments = ["headroom"].iter().chain(arguments).map(OsString::from).collect();
        let (own, foreign) = super::split(arguments, &Cli::command())?;
        Ok((own.into_iter().skip(1).map(|text| text.into_string().unwrap()).collect(), foreign))
    }

    fn options(arguments: &[&str]) -> Options {
        let mut options = Options::default();
        split(&[&["exporter"], arguments].concat()).unwrap().1.apply(&mut options);
        options
    }

    #[test]
    fn flags_without_effect_are_set_aside_with_their_values() {
        let (own, foreign) = split(&[
            "exporter",
            "--path.procfs=/p",
            "--collector.nosuch.thing",
            "7",
            "--collector.perf",
            "--collector.ntp.server",
            "10.0.0.1",
            "--no-collector.ntp.server-is-local",
            "--runtime.gomaxprocs=2",
            "--config",
            "c",
        ])
        .unwrap();
        assert_eq!(own, ["exporter", "--path.procfs=/p", "--config", "c"]);
        let unknown = [
            "--collector.nosuch.thing=7",
            "--collector.perf",
            "--collector.ntp.server=10.0.0.1",
            "--no-collector.ntp.server-is-local",
            "--runtime.gomaxprocs=2",
        ];
        assert_eq!(foreign.unknown, unknown);
    }

    #[test]
    fn flags_of_the_exporter_are_found_behind_flags_of_every_command() {
        for before in [&["--config", "f"][..], &["--config=f"], &["--log-level", "exporter"], &[]] {
            let arguments = [before, &["exporter", "--collector.stat.softirq"]].concat();
            let (own, foreign) = split(&arguments).unwrap();
            assert_eq!(own, [before, &["exporter"]].concat());
            assert_eq!(foreign.options.len(), 1, "{before:?}");
        }
        for other in [&["up", "--collector.x"][..], &["--config", "exporter", "up", "--collector.x"], &[]] {
            let (own, foreign) = split(other).unwrap();
            assert_eq!((own, foreign.unknown.len()), (other.iter().map(|&s| s.to_owned()).collect(), 0));
        }
    }

    #[test]
    fn collectors_are_turned_on_and_off_whatever_the_file_says() {
        let mut options = Options { disabled: vec!["stat".into()], ..Options::default() };
        let arguments =
            ["exporter", "--collector.stat", "--no-collector.cpu", "--collector.disable-defaults"];
        split(&arguments).unwrap().1.apply(&mut options);
        assert_eq!((options.enabled, options.disabled), (vec!["stat".to_owned()], vec!["cpu".to_owned()]));
        assert!(options.disable_defaults);
    }

    #[test]
    fn options_take_their_values_in_every_form() {
        let set = options(&[
            "--collector.cpu.info",
            "--no-collector.cpu.guest",
            "--collector.arp.netlink=false",
            "--collector.netdev.device-include",
            "^e",
            "--collector.filesystem.mount-timeout=1m1.5s",
            "--collector.sysctl.include=a",
            "--collector.sysctl.include",
            "b",
            "--collector.diskstats.ignored-devices=",
        ]);
        let mut want = Options::default();
        (want.cpu.info, want.cpu.guest, want.arp.netlink) = (true, false, false);
        want.netdev.device_include = "^e".into();
        want.filesystem.mount_timeout = Duration::from_millis(61_500);
        want.sysctl.include = vec!["a".into(), "b".into()];
        want.diskstats.devices_exclude = String::new();
        assert_eq!(set, want);
    }

    #[test]
    fn a_list_of_flags_takes_the_place_of_the_files() {
        let mut options = Options::default();
        options.textfile.directories = vec!["/from/file".into()];
        let flags = ["exporter", "--collector.textfile.directory=/a", "--collector.textfile.directory", "/b"];
        split(&flags).unwrap().1.apply(&mut options);
        assert_eq!(options.textfile.directories, ["/a", "/b"]);
    }

    #[test]
    fn wrong_values_name_their_flag() {
        for (arguments, want) in [
            (&["--collector.cpu.info=maybe"][..], "--collector.cpu.info: `maybe` should be true or false"),
            (&["--collector.stat=1"], "--collector.stat: `1` should be true or false"),
            (&["--collector.arp.device-exclude"], "--collector.arp.device-exclude: a value is missing"),
            (
                &["--collector.arp.device-exclude", "--collector.stat"],
                "--collector.arp.device-exclude: a value is missing",
            ),
            (
                &["--collector.filesystem.mount-timeout", "soon"],
                "--collector.filesystem.mount-timeout: `soon` should be a duration such as 5s or 1m30s",
            ),
            (
                &["--collector.filesystem.stat-workers=many"],
                "--collector.filesystem.stat-workers: `many` should be a whole number",
            ),
        ] {
            assert_eq!(split(&[&["exporter"], arguments].concat()).unwrap_err(), want);
        }
        let (_, foreign) = split(&["exporter", "--collector.diskstats.ignored-devices=("]).unwrap();
        let error = OptionError {
            key: "diskstats.devices_exclude".into(),
            why: "`(` is no regular expression".into(),
        };
        let error = foreign.explain(anyhow::Error::from(error.clone()).context("exporter.collectors"));
        assert_eq!(error.to_string(), "--collector.diskstats.ignored-devices: `(` is no regular expression");
        let other = OptionError { key: "arp.device_exclude".into(), why: "no".into() };
        assert_eq!(foreign.explain(other.into()).to_string(), "arp.device_exclude: no");
    }

    #[test]
    fn slips_are_errors_and_names_that_are_only_alike_are_not() {
        for (slip, meant) in [
            ("--web.listen-addres=:1", "--web.listen-address"),
            ("--path.procf", "--path.procfs"),
            ("--collector.zsf", ""),
            ("--collector.diskstat", "--collector.diskstats"),
            ("--no-collector.diskstat", "--collector.diskstats"),
            ("--collector.disable-default", "--collector.disable-defaults"),
            ("--collector.netdev.device-inclde=x", "--collector.netdev.device-include"),
            ("--no-collector.netdev.device-include", "--collector.netdev.device-include"),
            ("--collector.gpu", ""),
            ("--collector.netdev.device-limit=9", ""),
        ] {
            let said = split(&["exporter", slip]);
            match meant {
                "" => assert_eq!(said.unwrap().1.unknown, [slip]),
                _ => assert!(said.unwrap_err().ends_with(&format!("did you mean `{meant}`?")), "{slip}"),
            }
        }
    }
}
