//! How the places of a template are filled.

use super::{About, Item, Part, Pipeline, What, number};
use crate::promql::Sample;

/// Writes parts; `dot` is what `with` has put there.
pub(super) fn write(parts: &[Part], about: &About<'_>, dot: &Item, out: &mut String) -> Result<(), String> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Say(pipeline) => out.push_str(&evaluate(pipeline, about, dot)?.text()),
            Part::If { of, then, otherwise } => {
                let is_so = evaluate(of, about, dot)?.is_so();
                write(if is_so { then } else { otherwise }, about, dot, out)?;
            }
            Part::With { of, then, otherwise } => {
                let item = evaluate(of, about, dot)?;
                if item.is_so() {
                    write(then, about, &item, out)?;
                } else {
                    write(otherwise, about, dot, out)?;
                }
            }
        }
    }
    Ok(())
}

fn evaluate(pipeline: &Pipeline, about: &About<'_>, dot: &Item) -> Result<Item, String> {
    let one = |what: &What| -> Result<Item, String> {
        Ok(match what {
            What::Dot => dot.clone(),
            What::Value => Item::Number(about.value),
            What::Label(name) => Item::Text(about.labels.get(name).to_owned()),
            What::External(name) => Item::Text(about.external.get(name).cloned().unwrap_or_default()),
            What::Text(text) => Item::Text(text.clone()),
            What::Number(number) => Item::Number(*number),
            What::Function(name) => return Err(format!("`{name}` without arguments")),
            What::Inner(inner) => evaluate(inner, about, dot)?,
        })
    };
    let mut last = None;
    for call in pipeline {
        let mut arguments = call.arguments.iter().map(one).collect::<Result<Vec<Item>, String>>()?;
        arguments.extend(last.take());
        last = Some(match call.what {
            What::Function("query") => {
                Item::Samples((about.query)(&arguments.first().map(Item::text).unwrap_or_default())?)
            }
            What::Function(name) => apply(name, &arguments)?,
            ref what => one(what)?,
        });
    }
    last.ok_or_else(|| "nothing to say".to_owned())
}

fn apply(name: &str, arguments: &[Item]) -> Result<Item, String> {
    let first = arguments.first().unwrap_or(&Item::Nothing);
    let number = |write: fn(f64) -> String| Ok(Item::Text(write(first.number()?)));
    let compared = || Some(first.number().ok()?.total_cmp(&arguments.get(1)?.number().ok()?));
    match name {
        "humanize" => number(number::humanize),
        "humanize1024" => number(number::humanize1024),
        "humanizeDuration" => number(number::duration),
        "humanizePercentage" => number(number::percentage),
        "first" => Ok(Item::Samples(vec![first.sample()?.clone()])),
        "value" => Ok(Item::Number(first.sample()?.value)),
        "label" => {
            let sample = arguments.get(1).unwrap_or(&Item::Nothing).sample()?;
            Ok(Item::Text(sample.labels.get(&first.text()).to_owned()))
        }
        "toUpper" => Ok(Item::Text(first.text().to_uppercase())),
        "toLower" => Ok(Item::Text(first.text().to_lowercase())),
        "print" => Ok(Item::Text(arguments.iter().map(Item::text).collect())),
        "printf" => formatted(&first.text(), arguments.get(1..).unwrap_or_default()).map(Item::Text),
        "not" => Ok(Item::Truth(!first.is_so())),
        "and" => {
            Ok(arguments.iter().find(|item| !item.is_so()).or(arguments.last()).unwrap_or(first).clone())
        }
        "or" => Ok(arguments.iter().find(|item| item.is_so()).or(arguments.last()).unwrap_or(first).clone()),
        "eq" => Ok(Item::Truth(arguments.get(1) == Some(first))),
        "ne" => Ok(Item::Truth(arguments.get(1) != Some(first))),
        _ => {
            let order = compared().ok_or_else(|| format!("`{name}` compares numbers"))?;
            Ok(Item::Truth(match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }))
        }
    }
}

/// Go's `printf` with `%s %v %d %f %g %q %%`, places (`%.2f`) and nothing else.
fn formatted(format: &str, arguments: &[Item]) -> Result<String, String> {
    let (mut out, mut rest, mut arguments) = (String::new(), format, arguments.iter());
    while let Some((before, from)) = rest.split_once('%') {
        out.push_str(before);
        let end = from.find(|c: char| c != '.' && !c.is_ascii_digit()).ok_or("a `%` at the end")?;
        let (places, verb) = (from.get(..end).unwrap_or_default(), from.get(end..=end).unwrap_or_default());
        rest = from.get(end + 1..).unwrap_or_default();
        if verb == "%" {
            out.push('%');
            continue;
        }
        let places = match places.strip_prefix('.') {
            Some(places) => Some(
                places.parse::<usize>().map_err(|_| format!("not supported here: `%.{places}`"))?.min(30),
            ),
            None if places.is_empty() => None,
            None => return Err(format!("not supported here: `%{places}{verb}`")),
        };
        let item = arguments.next().ok_or("printf: fewer values than places")?;
        let said = match verb {
            "s" | "v" => item.text(),
            "q" => format!("{:?}", item.text()),
            "d" => number::fixed(item.number()?.trunc(), 0),
            "f" => number::fixed(item.number()?, places.unwrap_or(6)),
            "g" => match places {
                Some(places) => number::significant(item.number()?, places),
                None => item.text(),
            },
            _ => return Err(format!("not supported here: `%{verb}`")),
        };
        out.push_str(&said);
    }
    out.push_str(rest);
    Ok(out)
}

impl Item {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number::plain(*number),
            Self::Truth(truth) => truth.to_string(),
            Self::Samples(samples) => {
                let each = |s: &Sample| format!("{} {}", s.labels, number::plain(s.value));
                samples.iter().map(each).collect::<Vec<_>>().join(" ")
            }
            Self::Nothing => String::new(),
        }
    }

    fn sample(&self) -> Result<&Sample, String> {
        match self {
            // Prometheus's words.
            Self::Samples(samples) => {
                samples.first().ok_or_else(|| "first() called on vector with no elements".to_owned())
            }
            _ => Err("not the answer of a query".to_owned()),
        }
    }

    fn number(&self) -> Result<f64, String> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Text(text) => text.parse().map_err(|_| format!("not a number: {text:?}")),
            Self::Truth(_) | Self::Samples(_) | Self::Nothing => Err("not a number".to_owned()),
        }
    }

    /// Whether `if` goes its first way.
    fn is_so(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Number(number) => *number != 0.0,
            Self::Truth(truth) => *truth,
            Self::Samples(samples) => !samples.is_empty(),
            Self::Nothing => false,
        }
    }
}
