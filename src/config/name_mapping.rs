//! process-exporter's older way to choose processes: names of commands, and expressions that tell those of one name apart.

use crate::host::group::{Grouping, Rule};

/// A key that cannot be used, and why.
type Mistake = (&'static str, String);

/// The rules that `-procnames` and `-namemapping` stand for. A command with an expression is in groups named after what
/// the expression's first group took; all others of `names` are in that of their name. Both lists are process-exporter's,
/// `mapping` an alternation of names and expressions; of two expressions for one name the last counts.
pub(super) fn rules(names: &[String], mapping: &[String]) -> Result<Vec<Rule>, Mistake> {
    let mut pairs: Vec<(&String, &String)> = Vec::new();
    for pair in mapping.chunks(2) {
        let [name, expression] = pair else {
            return Err(("namemapping", format!("`{}` lacks its expression", pair.concat())));
        };
        if name.is_empty() || expression.is_empty() {
            return Err(("namemapping", "a name or an expression is empty".into()));
        }
        pairs.retain(|(other, _)| *other != name);
        pairs.push((name, expression));
    }
    let mapped = |name: &String| pairs.iter().any(|(other, _)| *other == name);
    let plain: Vec<String> = names.iter().filter(|n| !n.is_empty() && !mapped(n)).cloned().collect();
    let mut rules = Vec::with_capacity(pairs.len() + 1);
    for (name, expression) in pairs {
        let rule = Rule {
            comm: vec![name.clone()],
            cmdline: vec![expression.clone()],
            told_apart: true,
            ..by_name()
        };
        if let Err(e) = Grouping::new(std::slice::from_ref(&rule)) {
            let why = e.to_string();
            return Err(("namemapping", why.strip_prefix("rule 1 ").unwrap_or(&why).to_owned()));
        }
        rules.push(rule);
    }
    if !plain.is_empty() {
        rules.push(Rule { comm: plain, ..by_name() });
    }
    Ok(rules)
}

fn by_name() -> Rule {
    Rule { name: "{{.Comm}}".into(), borrowed: true, ..Rule::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::group::Users;
    use crate::host::proc::Identity;

    fn list(text: &str) -> Vec<String> {
        text.split(',').filter(|_| !text.is_empty()).map(str::to_owned).collect()
    }

    fn group(names: &str, mapping: &str, cmdline: &[&str]) -> Option<String> {
        let grouping = Grouping::new(&rules(&list(names), &list(mapping)).unwrap()).unwrap();
        let cmdline: Vec<String> = cmdline.iter().map(|&s| s.into()).collect();
        let identity = Identity { comm: cmdline[0].clone(), cmdline, ..Identity::default() };
        grouping.group_of(&identity, &Users::default()).map(std::borrow::Cow::into_owned)
    }

    #[test]
    fn names_and_expressions_group_as_in_its_manual() {
        let mapping = r"python2,([^/]+)\.py,java,-jar\s+([^/]+).jar,upstart,(--user)|(--system)";
        let of = |cmdline: &[&str]| group("bash,,java,{{", mapping, cmdline);
        assert_eq!(of(&["bash"]).unwrap(), "bash");
        assert_eq!(of(&["python2", "/opt/shop.py"]).unwrap(), "python2:shop");
        assert_eq!(
            of(&["upstart", "--system"]).unwrap(),
            "upstart:--system",
            "the first group that took something"
        );
        assert_eq!(of(&["java", "-jar", "a.jar"]).unwrap(), "java:a");
        assert_eq!(
            of(&["java", "-version"]),
            None,
            "a name with an expression is not in the group of its name"
        );
        assert_eq!(of(&["{{"]).unwrap(), "{{", "a name is no template");
        assert_eq!(of(&["zsh"]), None);
        assert_eq!(group("", "a,(x),a,(y)", &["a", "xy"]).unwrap(), "a:y", "the last expression counts");
    }

    #[test]
    fn a_mistake_says_what_is_wrong() {
        for (mapping, want) in [
            ("a", "`a` lacks its expression"),
            ("a,", "a name or an expression is empty"),
            (",b", "a name or an expression is empty"),
            ("a,(", "the expression `(` in `cmdline` is not valid"),
            ("a,b", "has no group"),
        ] {
            let list: Vec<String> = mapping.split(',').map(str::to_owned).collect();
            let (key, why) = rules(&[], &list).unwrap_err();
            assert!(key == "namemapping" && why.contains(want), "{mapping}: {why}");
        }
        assert_eq!(rules(&[String::new()], &[]), Ok(Vec::new()));
    }
}
