//! The collector of kernel parameters that the user names: files below /proc/sys (`node_sysctl_*`).

use super::table::signed;
use super::{CollectError, Collector, Entry, OptionError};
use crate::host::{Host, HostError, Kept, ParseError};
use crate::metric::{Desc, Sink, Value};
use serde::Deserialize;
use std::collections::BTreeSet;

/// This collector's line in the list.
pub const ENTRY: Entry = Entry {
    name: "sysctl",
    on: false,
    make: |host, options| {
        let Options { include, include_info } = &options.sysctl;
        // What is asked for twice in the same words is shown once.
        let once = |list: &[String]| list.iter().cloned().collect::<BTreeSet<String>>();
        let numbers: Result<Vec<_>, _> = once(include).iter().map(|text| Numbers::new(host, text)).collect();
        let texts: Result<Vec<_>, _> = once(include_info).iter().map(|text| Texts::new(host, text)).collect();
        Ok(Box::new(Sysctl { numbers: numbers?, texts: texts? }))
    },
};

/// Which parameters are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Parameters that hold numbers: `NAME`, or `NAME:FIELD,FIELD` to name several.
    pub include: Vec<String>,
    /// Parameters that hold words, each to be shown as a label.
    pub include_info: Vec<String>,
}

const INFO: Desc<'static> = Desc::gauge("node_sysctl_info", "sysctl info", &["index", "name", "value"]);

struct Sysctl {
    numbers: Vec<Numbers>,
    texts: Vec<Texts>,
}

struct Numbers {
    file: Kept,
    /// The name with dots, as the user wrote it.
    name: String,
    /// The names of the fields; empty where they are told apart by their place.
    fields: Vec<String>,
    values: Vec<i64>,
}

struct Texts {
    file: Kept,
    name: String,
    values: Vec<String>,
}

impl Collector for Sysctl {
    fn collect(&mut self, _: &Host, out: &mut dyn Sink) -> Result<(), CollectError> {
        for numbers in &mut self.numbers {
            numbers.read()?;
        }
        for texts in &mut self.texts {
            let words = texts.file.parse(|text| Ok(text.split_whitespace().map(String::from).collect()))?;
            texts.values = words.ok_or_else(|| CollectError::Absent(texts.name.clone()))?;
        }
        for numbers in &self.numbers {
            numbers.write(out)?;
        }
        if self.texts.iter().any(|texts| !texts.values.is_empty()) {
            out.family(&INFO);
        }
        for texts in &self.texts {
            for (i, value) in texts.values.iter().enumerate() {
                out.sample(&[&i.to_string(), &texts.name, value], Value::U64(1));
            }
        }
        Ok(())
    }
}

impl Numbers {
    fn new(host: &Host, text: &str) -> Result<Self, OptionError> {
        let (name, fields) = text.split_once(':').unwrap_or((text, ""));
        let fields = fields.split(',').filter(|field| !field.is_empty()).map(String::from).collect();
        Ok(Self { file: file(host, "include", name)?, name: name.to_owned(), fields, values: Vec::new() })
    }

    fn read(&mut self) -> Result<(), CollectError> {
        let Self { file, name, fields, values } = self;
        let words = |text: &str| text.split_whitespace().map(str::parse).collect::<Result<_, _>>();
        let read = file.parse(|text| words(text).map_err(|_| ParseError::new(1, "whole numbers")))?;
        *values = read.ok_or_else(|| CollectError::Absent(name.clone()))?;
        let fits = if fields.is_empty() { !values.is_empty() } else { fields.len() == values.len() };
        let want = if fields.is_empty() { 1 } else { fields.len() };
        if fits {
            return Ok(());
        }
        let why = ParseError::new(1, format!("{want} values, of which there are {}", values.len()));
        Err(HostError::parse(file.path(), why).into())
    }

    fn write(&self, out: &mut dyn Sink) -> Result<(), CollectError> {
        let family = format!("node_sysctl_{}", super::metric_name(&self.name));
        let help = format!("sysctl {}", self.name);
        match (self.fields.as_slice(), self.values.as_slice()) {
            ([], [value]) => {
                open(out, &Desc::untyped(&family, &help, &[]))?;
                out.sample(&[], signed(*value));
            }
            ([], values) => {
                open(out, &Desc::untyped(&family, &help, &["index"]))?;
                for (i, value) in values.iter().enumerate() {
                    out.sample(&[&i.to_string()], signed(*value));
                }
            }
            (fields, values) => {
                for (i, (field, value)) in fields.iter().zip(values).enumerate() {
                    let name = format!("{family}_{}", super::metric_name(field));
                    open(out, &Desc::untyped(&name, &format!("{help}, field {i}"), &[]))?;
                    out.sample(&[], signed(*value));
                }
            }
        }
        Ok(())
    }
}

impl Texts {
    fn new(host: &Host, name: &str) -> Result<Self, OptionError> {
        Ok(Self { file: file(host, "include_info", name)?, name: name.to_owned(), values: Vec::new() })
    }
}

fn file(host: &Host, key: &str, name: &str) -> Result<Kept, OptionError> {
    let path = name.replace('.', "/");
    if path.is_empty() || path.starts_with('/') || path.contains("//") {
        let why = format!("`{name}` is no name of a kernel parameter such as kernel.threads-max");
        return Err(OptionError { key: format!("sysctl.{key}"), why });
    }
    Ok(host.proc_file(&format!("sys/{path}")))
}

/// Two parameters may have the same name as a family; a family is opened only once.
fn open(out: &mut dyn Sink, desc: &Desc<'_>) -> Result<(), CollectError> {
    if out.has_family(desc.name) {
        return Err(CollectError::Failed(format!("{} is asked for twice", desc.name)));
    }
    out.family(desc);
    Ok(())
}
