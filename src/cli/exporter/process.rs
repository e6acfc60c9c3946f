//! process-exporter's flags on `headroom exporter`, with one dash as Go's programs take them, or with two.

use crate::config::Config;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// process-exporter's flags, each over its key in `exporter.collectors.process_groups`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Options of process-exporter")]
pub(super) struct ProcessFlags {
    /// Names of commands, with commas between them, each a group (procnames)
    #[arg(long, value_name = "NAMES")]
    procnames: Option<String>,
    /// Names of commands, each with an expression whose first group tells its processes apart (namemapping)
    #[arg(long, value_name = "NAME,REGEX,...")]
    namemapping: Option<String>,
    /// Whether a process in no group is in that of its nearest ancestor (children)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    children: Option<bool>,
    /// Whether threads are told apart by name (threads) [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    threads: Option<bool>,
    /// Whether memory is read in proportion to who shares it (gather_smaps) [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    gather_smaps: Option<bool>,
    /// Whether a process in no group is looked at again in each scrape (recheck) [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    recheck: Option<bool>,
    /// How long after its start it is looked at again (recheck_with_time_limit)
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    recheck_with_time_limit: Option<Duration>,
    /// Whether a group without processes is forgotten (remove_empty_groups) [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch)]
    remove_empty_groups: Option<bool>,
    /// Where the proc file system is mounted, as --path.procfs
    #[arg(long = "procfs", value_name = "DIR", hide = true)]
    their_procfs: Option<PathBuf>,
    /// Log more (log.level)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, hide = true)]
    debug: Option<bool>,
}

impl ProcessFlags {
    /// Puts the flags over the configuration.
    pub(super) fn apply(&self, config: &mut Config) {
        let options = &mut config.exporter.collectors.process_groups;
        for (flag, key) in
            [(&self.procnames, &mut options.procnames), (&self.namemapping, &mut options.namemapping)]
        {
            if let Some(list) = flag {
                *key =
                    if list.is_empty() { Vec::new() } else { list.split(',').map(str::to_owned).collect() };
            }
        }
        for (flag, key) in [
            (self.threads, &mut options.threads),
            (self.gather_smaps, &mut options.gather_smaps),
            (self.recheck, &mut options.recheck),
            (self.remove_empty_groups, &mut options.remove_empty_groups),
        ] {
            *key = flag.unwrap_or(*key);
        }
        options.children = self.children.or(options.children);
        if let Some(limit) = self.recheck_with_time_limit {
            // There, 0 is no limit.
            options.recheck_with_time_limit = (!limit.is_zero()).then_some(limit);
        }
        if let Some(path) = &self.their_procfs {
            config.paths.procfs.clone_from(path);
        }
        if self.debug == Some(true) {
            config.log.level = "debug".into();
        }
    }
}

/// The words that Go's flags know for yes and no.
fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("neither true nor false".into()),
    }
}

/// Gives the flags of `headroom exporter` that are written with one dash, as process-exporter's are, a second one.
/// Only whole names that `command` has are flags, and those of the web server, which it may not have.
pub(in crate::cli) fn with_two_dashes(
    mut arguments: Vec<OsString>,
    command: impl FnOnce() -> clap::Command,
) -> Vec<OsString> {
    let name = |argument: &OsString| -> Option<String> {
        let name = argument.to_str()?.strip_prefix('-')?.split('=').next()?;
        (name.len() > 1 && !name.starts_with('-')).then(|| name.to_owned())
    };
    let exporter = arguments.get(1).is_some_and(|command| command == "exporter");
    if !exporter || !arguments.iter().any(|argument| name(argument).is_some()) {
        return arguments;
    }
    let mut command = command();
    command.build();
    let known: Vec<&str> = command
        .find_subcommand("exporter")
        .into_iter()
        .flat_map(clap::Command::get_arguments)
        .flat_map(|argument| {
            argument.get_long().into_iter().chain(argument.get_all_aliases().unwrap_or_default())
        })
        .collect();
    for argument in arguments.iter_mut().skip(2) {
        if name(argument).is_some_and(|name| name.starts_with("web.") || known.contains(&name.as_str())) {
            let mut two = OsString::from("-");
            two.push(&*argument);
            *argument = two;
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Command,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Command {
        Exporter(Flags),
    }

    #[derive(Debug, clap::Args)]
    struct Flags {
        #[command(flatten)]
        process: ProcessFlags,
        #[arg(long = "process-names", alias = "config.path")]
        file: Option<String>,
        #[arg(short, long)]
        x: bool,
    }

    fn parsed(line: &str) -> Result<Flags, String> {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let Cli { command: Command::Exporter(flags) } =
            Cli::try_parse_from(with_two_dashes(arguments, Cli::command)).map_err(|e| e.to_string())?;
        Ok(flags)
    }

    fn config(line: &str) -> Config {
        let mut config = Config::default();
        parsed(line).unwrap().process.apply(&mut config);
        config
    }

    #[test]
    fn one_dash_or_two_a_value_behind_it_or_in_it() {
        for line in [
            "h exporter -procnames a,b -children=false -recheck -config.path /f -x",
            "h exporter --procnames=a,b --children=F --recheck=true --config.path=/f --x",
            "h exporter -x -config.path=/f -recheck=1 -procnames=a,b -children=0",
        ] {
            let flags = parsed(line).unwrap();
            assert_eq!((flags.file.as_deref(), flags.x), (Some("/f"), true), "{line}");
            let mut config = Config::default();
            flags.process.apply(&mut config);
            let options = config.exporter.collectors.process_groups;
            assert_eq!(options.procnames, ["a", "b"], "{line}");
            assert_eq!((options.children, options.recheck), (Some(false), true), "{line}");
        }
    }

    #[test]
    fn what_is_no_flag_keeps_its_dash_and_so_do_other_commands() {
        let two = |line: &str| {
            let arguments = line.split(' ').map(OsString::from).collect();
            let out = with_two_dashes(arguments, Cli::command);
            out.iter().map(|a| a.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            two("h exporter -x -nosuch - -children --recheck"),
            "h exporter -x -nosuch - --children --recheck"
        );
        assert_eq!(two("h exporter -web.telemetry-path=/m"), "h exporter --web.telemetry-path=/m");
        assert_eq!(two("h up -children"), "h up -children");
    }

    #[test]
    fn no_flag_of_theirs_has_the_name_of_one_of_ours() {
        crate::cli::Cli::command().debug_assert();
    }

    #[test]
    fn each_flag_has_its_key() {
        let default = Config::default();
        assert_eq!(config("h exporter"), default);
        let all = config(
            "h exporter -threads=false -gather-smaps=f -remove-empty-groups -recheck-with-time-limit=1m30.5s -debug \
             -namemapping a,b(c) -procfs /p",
        );
        assert_eq!(all.paths.procfs, PathBuf::from("/p"));
        let options = all.exporter.collectors.process_groups;
        assert!(!options.threads && !options.gather_smaps && options.remove_empty_groups && !options.recheck);
        assert_eq!(options.recheck_with_time_limit, Some(Duration::from_millis(90_500)));
        assert_eq!(options.namemapping, ["a", "b(c)"]);
        assert_eq!(all.log.level, "debug");
        let none = config("h exporter -recheck-with-time-limit 0 -procnames= -debug=false");
        assert_eq!(none, default);
        assert!(parsed("h exporter -children=maybe").unwrap_err().contains("neither true nor false"));
    }
}
