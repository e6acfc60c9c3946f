//! Which processes belong to which named group: the rules, their order, and their names.

mod name;
mod rule;
mod users;

use super::proc::{self, Asked, Identity};
use super::tree::Tree;
use super::{Host, HostError};
use rule::Matcher;
pub use rule::{MEMORY_BUDGET_DEFAULT, Rule, RuleError};
use std::borrow::Cow;
use std::io;
pub use users::{Users, login_of, number_of};

/// The longest group name, in bytes; a label that a process can fill must have a limit.
pub const GROUP_NAME_BYTES_MAX: usize = 256;

/// The rules, checked and ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Grouping {
    matchers: Vec<Matcher>,
    /// The groups that the user named without a template, each once, and their budgets.
    budgets: Vec<(String, u64)>,
}

impl Grouping {
    /// The rules in the user's order. Without any, every process that has a command line is in
    /// the group of its name, as in process-exporter's packaged configuration.
    pub fn new(rules: &[Rule]) -> Result<Self, RuleError> {
        let matchers =
            rules.iter().enumerate().map(|(i, rule)| Matcher::new(i, rule)).collect::<Result<Vec<_>, _>>()?;
        let mut budgets: Vec<(String, u64)> = Vec::new();
        for (i, (rule, matcher)) in rules.iter().zip(&matchers).enumerate() {
            let Some(name) = matcher.name.literal().filter(|_| !matcher.borrowed) else { continue };
            let bytes = rule.memory_budget_bytes();
            match budgets.iter().find(|(known, _)| known == name) {
                None => budgets.push((name.to_owned(), bytes)),
                Some((_, known)) if *known == bytes => {}
                Some(_) => {
                    return Err(RuleError::Budget { index: i, name: name.to_owned() });
                }
            }
        }
        Ok(Self { matchers, budgets })
    }

    /// The group of a process: that of the first rule that matches. `None` if no rule does, or if
    /// the rule's template gives an empty name.
    pub fn group_of(&self, identity: &Identity, users: &Users) -> Option<Cow<'_, str>> {
        let name = if self.matchers.is_empty() {
            (!identity.cmdline.is_empty()).then(|| Cow::Owned(identity.comm.clone()))
        } else {
            self.matchers.iter().find_map(|matcher| matcher.name_of(identity, users))
        };
        name.map(bounded).filter(|name| !name.is_empty())
    }

    /// The groups that the user named (no templates), each once, and how much memory each may use.
    pub fn budgets(&self) -> impl Iterator<Item = (&str, u64)> {
        self.budgets.iter().map(|(name, bytes)| (name.as_str(), *bytes))
    }

    /// What the rules ask of a process beside its name and arguments. [`Users`] must be kept up to date if they ask whose
    /// it is.
    pub fn asked(&self) -> Asked {
        let any = |asks: fn(&Matcher) -> bool| self.matchers.iter().any(asks);
        Asked {
            exe: any(Matcher::asks_exe),
            cgroups: any(Matcher::asks_cgroups),
            user: any(Matcher::asks_user),
        }
    }
}

/// The processes that are in `group` now, by pid. Those that the rights do not suffice to look at
/// are left out: nobody can say that they belong to it.
pub fn members(host: &Host, grouping: &Grouping, group: &str) -> Result<Vec<Identity>, HostError> {
    let users = Users::load(host)?;
    let mut tree = Tree::new(&host.procfs);
    let mut out = Vec::new();
    for pid in proc::pids(host)? {
        let identity = match proc::identity_in(&mut tree, pid) {
            Ok(Some(identity)) => identity,
            Ok(None) => continue,
            Err(HostError::Read { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                continue;
            }
            Err(e) => return Err(e),
        };
        if grouping.group_of(&identity, &users).is_some_and(|name| name == group) {
            out.push(identity);
        }
    }
    Ok(out)
}

/// Whether a process is in `group` now; not if the rights do not suffice to look at it.
pub fn is_member(host: &Host, grouping: &Grouping, group: &str, pid: u32) -> Result<bool, HostError> {
    let identity = match proc::identity(host, pid) {
        Err(HostError::Read { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => None,
        other => other?,
    };
    let Some(identity) = identity else { return Ok(false) };
    let users = Users::load(host)?;
    Ok(grouping.group_of(&identity, &users).is_some_and(|name| name == group))
}

/// The name, cut at a character when it is longer than a label may be.
fn bounded(name: Cow<'_, str>) -> Cow<'_, str> {
    if name.len() <= GROUP_NAME_BYTES_MAX {
        return name;
    }
    let end = (0..=GROUP_NAME_BYTES_MAX).rev().find(|&i| name.is_char_boundary(i)).unwrap_or(0);
    Cow::Owned(name.get(..end).unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytesize::ByteSize;

    fn process(comm: &str, cmdline: &[&str]) -> Identity {
        Identity {
            pid: 7,
            comm: comm.into(),
            cmdline: cmdline.iter().map(|&s| s.into()).collect(),
            cgroups: vec!["/system.slice/redis.service".into(), "/".into()],
            uid: Some(33),
            ..Identity::default()
        }
    }

    fn rule(name: &str) -> Rule {
        Rule { name: name.into(), ..Rule::default() }
    }

    fn group(rules: &[Rule], identity: &Identity) -> Option<String> {
        let users = Users::from_passwd("root:x:0:0::/:/bin/sh\nwww-data:x:33:33::/:\n");
        Grouping::new(rules).unwrap().group_of(identity, &users).map(Cow::into_owned)
    }

    #[test]
    fn without_rules_the_group_is_the_name_and_kernel_threads_are_in_none() {
        assert_eq!(group(&[], &process("redis", &["redis"])).as_deref(), Some("redis"));
        assert_eq!(group(&[], &process("kworker/0:1", &[])), None);
    }

    #[test]
    fn the_first_rule_that_matches_wins() {
        let rules = [
            Rule { comm: vec!["x".into()], ..rule("never") },
            Rule { comm: vec!["redis".into(), "y".into()], ..rule("first") },
            Rule { comm: vec!["redis".into()], ..rule("second") },
        ];
        assert_eq!(group(&rules, &process("redis", &["redis"])).as_deref(), Some("first"));
        assert_eq!(group(&rules, &process("other", &["other"])), None);
    }

    #[test]
    fn all_fields_that_are_given_must_match() {
        let both = Rule { comm: vec!["redis".into()], user: vec!["root".into()], ..rule("g") };
        assert_eq!(group(&[both], &process("redis", &["redis"])), None);
        let both =
            Rule { comm: vec!["redis".into()], user: vec!["root".into(), "www-data".into()], ..rule("g") };
        assert_eq!(group(&[both], &process("redis", &["redis"])).as_deref(), Some("g"));
    }

    #[test]
    fn a_command_with_a_long_name_is_found_under_what_the_kernel_keeps_of_it() {
        let long = Rule { comm: vec!["prometheus-alertmanager".into()], ..rule("g") };
        let rules = std::slice::from_ref(&long);
        assert_eq!(group(rules, &process("prometheus-aler", &["x"])).as_deref(), Some("g"));
        assert_eq!(group(rules, &process("prometheus", &["x"])), None);
    }

    #[test]
    fn all_command_line_expressions_must_match_anywhere_in_it() {
        let expressions =
            |list: &[&str]| Rule { cmdline: list.iter().map(|&s| s.into()).collect(), ..rule("g") };
        let java = process("java", &["/usr/bin/java", "-Xmx1g", "-jar", "shop.jar"]);
        assert_eq!(group(&[expressions(&["Xmx", r"shop\.jar$"])], &java).as_deref(), Some("g"));
        assert_eq!(group(&[expressions(&["Xmx", "^-jar"])], &java), None);
    }

    #[test]
    fn a_name_takes_what_its_template_asks_for() {
        let name = |template: &str| {
            let rule = Rule { cmdline: vec![r"-Xmx(?P<heap>\w+)".into()], ..rule(template) };
            group(&[rule], &process("java", &["/opt/jdk/bin/java", "-Xmx1g"]))
        };
        assert_eq!(name("{{.Comm}}-{{ .Matches.heap }}").as_deref(), Some("java-1g"));
        assert_eq!(name("{{.ExeBase}} {{.ExeFull}}").as_deref(), Some("java /opt/jdk/bin/java"));
        assert_eq!(name("{{.Username}}:{{.PID}}").as_deref(), Some("www-data:7"));
        assert_eq!(name("").as_deref(), Some("java"), "as process-exporter: the program's name");
        assert_eq!(name("a {{- .Comm -}} b").as_deref(), Some("ajavab"));
        assert_eq!(name("{{ index .Matches \"heap\" }}").as_deref(), Some("1g"));
        assert_eq!(
            name("{{.Cgroups}} {{index .Cgroups 1}}").as_deref(),
            Some("[/system.slice/redis.service /] /")
        );
        assert_eq!(name("{{.StartTime}}").as_deref(), Some("0"));
    }

    #[test]
    fn nothing_is_asked_that_no_rule_wants_to_know() {
        let asked = |rule: Rule| Grouping::new(&[rule]).unwrap().asked();
        let one = || vec!["x".to_owned()];
        let nothing = Asked::default();
        assert_eq!(Grouping::default().asked(), nothing);
        assert_eq!(asked(Rule { comm: one(), cmdline: one(), ..rule("{{.ExeBase}} {{.PID}}") }), nothing);
        assert_eq!(asked(Rule { exe: one(), borrowed: true, ..rule("g") }), nothing);
        assert_eq!(asked(Rule { exe: one(), ..rule("g") }), Asked { exe: true, ..nothing });
        let cgroups = Asked { cgroups: true, ..nothing };
        assert_eq!(asked(Rule { cgroup: one(), ..rule("g") }), cgroups);
        for name in ["{{.Cgroups}}", "{{index .Cgroups 1}}"] {
            assert_eq!(asked(Rule { comm: one(), ..rule(name) }), cgroups);
        }
        let user = Asked { user: true, ..nothing };
        assert_eq!(asked(Rule { user: one(), ..rule("g") }), user);
        assert_eq!(asked(Rule { comm: one(), ..rule("{{.Username}}") }), user);
    }

    #[test]
    fn a_control_group_means_itself_and_what_is_below_it() {
        let in_group = |entry: &str| {
            group(&[Rule { cgroup: vec![entry.into()], ..rule("g") }], &process("redis", &["redis"]))
                .is_some()
        };
        assert!(in_group("/system.slice"));
        assert!(in_group("/system.slice/"));
        assert!(in_group("/system.slice/redis.service"));
        assert!(in_group("/"));
        assert!(!in_group("/system.slice/redis"));
        assert!(!in_group("/system.slice/redis.service/sub"));
    }

    #[test]
    fn a_program_is_known_by_its_base_name_its_path_or_its_real_path() {
        let mut renamed = process("postgres", &["postgres: writer process"]);
        renamed.exe = Some("/usr/lib/postgresql/15/bin/postgres".into());
        let with_exe = |entry: &str, identity: &Identity| {
            group(&[Rule { exe: vec![entry.into()], ..rule("g") }], identity).is_some()
        };
        assert!(with_exe("postgres", &renamed));
        assert!(with_exe("/usr/lib/postgresql/15/bin/postgres", &renamed));
        assert!(!with_exe("/usr/bin/postgres", &renamed));
        let plain = process("java", &["/opt/jdk/bin/java"]);
        assert!(with_exe("java", &plain) && with_exe("/opt/jdk/bin/java", &plain));
        assert!(!with_exe("/usr/bin/java", &plain) && !with_exe("javac", &plain));
        assert!(!with_exe("java", &process("kthreadd", &[])));
    }

    #[test]
    fn a_rule_of_process_exporter_means_what_it_means_there() {
        let mut renamed = process("postgres", &["postgres: writer"]);
        renamed.exe = Some("/usr/bin/postgres".into());
        let borrowed = Rule { exe: vec!["postgres".into()], borrowed: true, ..rule("db") };
        assert_eq!(group(std::slice::from_ref(&borrowed), &renamed), None);
        assert_eq!(group(std::slice::from_ref(&borrowed), &process("x", &["/a/postgres"])).unwrap(), "db");
        assert_eq!(Grouping::new(&[borrowed]).unwrap().budgets().count(), 0);
    }

    #[test]
    fn budgets_are_of_named_groups_only_and_500_mb_if_none_is_given() {
        let comm = |name: &str| Rule { comm: vec!["x".into()], ..rule(name) };
        let rules = [
            comm("{{.Comm}}"),
            comm("a"),
            Rule { memory_budget: Some(ByteSize::mib(64)), ..comm("b") },
            Rule { memory_budget: Some(ByteSize::mib(64)), ..comm("b") },
        ];
        let grouping = Grouping::new(&rules).unwrap();
        assert_eq!(grouping.budgets().collect::<Vec<_>>(), [("a", 500_000_000), ("b", 64 << 20)]);
    }

    #[test]
    fn a_rule_that_cannot_be_used_is_named() {
        let error = |rules: &[Rule]| Grouping::new(rules).unwrap_err().to_string();
        let bad = Rule { cmdline: vec!["(".into()], ..rule("shop") };
        assert!(error(&[bad]).starts_with("rule 1 (`shop`): the expression `(` in `cmdline` is not valid: "));
        assert_eq!(
            error(&[rule("x")]),
            "rule 1 (`x`): matches nothing; give at least one of comm, exe, cmdline, cgroup, user"
        );
        let nosuch = Rule { comm: vec!["c".into()], ..rule("{{.Nosuch}}") };
        assert!(error(&[nosuch]).contains("`{{.Nosuch}}`"));
        let open = Rule { comm: vec!["c".into()], ..rule("a{{.Comm") };
        assert!(error(&[open]).contains("`{{.Comm`"));
        let group = Rule { comm: vec!["c".into()], ..rule("{{.Matches.x}}") };
        assert!(error(&[group]).contains("no expression in `cmdline` has a group named `x`"));
        let first = Rule { comm: vec!["c".into()], ..rule("g") };
        let second = Rule { memory_budget: Some(ByteSize::b(1)), ..first.clone() };
        assert_eq!(
            error(&[first, second]),
            "rule 2 (`g`): another rule gives this group another memory_budget"
        );
    }

    #[test]
    fn a_name_that_a_process_made_too_long_is_cut_at_a_character() {
        let rule = Rule { cmdline: vec!["(?P<all>.*)".into()], ..rule("{{.Matches.all}}") };
        let long = "ü".repeat(4000);
        let name = group(&[rule], &process("x", &[&long])).unwrap();
        assert_eq!(name, "ü".repeat(GROUP_NAME_BYTES_MAX / 2));
    }

    #[test]
    fn a_user_without_an_entry_goes_by_number() {
        let mut nobody = process("x", &["x"]);
        nobody.uid = Some(4242);
        let by_number = Rule { user: vec!["4242".into()], ..rule("{{.Username}}") };
        assert_eq!(group(std::slice::from_ref(&by_number), &nobody).as_deref(), Some("4242"));
        nobody.uid = None;
        assert_eq!(group(&[by_number], &nobody), None);
    }

    #[test]
    fn rules_are_read_from_the_configuration_with_sizes_as_people_write_them() {
        let rule: Rule = serde_yaml::from_str("name: shop\ncomm: [java]\nmemory_budget: 400MiB\n").unwrap();
        assert_eq!(rule.memory_budget_bytes(), 400 << 20);
        assert!(serde_yaml::from_str::<Rule>("name: shop\ncom: [java]\n").is_err());
    }

    #[test]
    fn the_members_of_a_group_are_found_on_this_machine() {
        let mut child = std::process::Command::new("sleep").arg("61.25").spawn().unwrap();
        let rules = [Rule { cmdline: vec!["^sleep 61\\.25$".into()], ..rule("sleepers") }];
        let found = members(&Host::default(), &Grouping::new(&rules).unwrap(), "sleepers");
        child.kill().unwrap();
        child.wait().unwrap();
        let found = found.unwrap();
        assert_eq!(found.iter().map(|i| i.pid).collect::<Vec<_>>(), [child.id()]);
    }
}
