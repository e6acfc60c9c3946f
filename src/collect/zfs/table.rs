//! Rows of numbers with labels whose columns are named by the kernel: each column is a family.

use crate::collect::family::{Named, is_name};
use crate::metric::{Kind, Sink, Value};

/// The rows and columns of one pass; names, helps and labels are made once.
pub(super) struct Table<const N: usize> {
    /// What stands before a column's name in that of its family, and in its help.
    prefixes: [&'static str; 2],
    label_names: &'static [&'static str; N],
    columns: Vec<(String, Named)>,
    rows: Vec<Row<N>>,
    count: usize,
}

struct Row<const N: usize> {
    labels: [String; N],
    values: Vec<Option<i128>>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(prefixes: [&'static str; 2], label_names: &'static [&'static str; N]) -> Self {
        Self { prefixes, label_names, columns: Vec::new(), rows: Vec::new(), count: 0 }
    }

    /// Begins a new pass.
    pub(super) fn begin(&mut self) {
        self.count = 0;
    }

    /// Begins a new row.
    pub(super) fn row(&mut self, labels: [&str; N]) {
        match self.rows.get_mut(self.count) {
            Some(row) if row.labels == labels => row.values.clear(),
            _ => {
                self.rows.truncate(self.count);
                self.rows.push(Row { labels: labels.map(str::to_owned), values: Vec::new() });
            }
        }
        self.count += 1;
    }

    /// Sets a number of the row that was begun last. `place` is where its column probably stands.
    pub(super) fn set(&mut self, place: usize, key: &str, value: i128) {
        let Self { prefixes: [name, help], label_names, columns, rows, .. } = self;
        let is = |(known, _): &(String, Named)| known == key;
        let place = match columns.get(place).filter(|column| is(column)) {
            Some(_) => place,
            None => columns.iter().position(is).unwrap_or_else(|| {
                let name = format!("{name}{}", key.replace('-', "_"));
                let help = format!("{help}{key}");
                columns.push((key.to_owned(), Named::new(name, help, Kind::Untyped, *label_names)));
                columns.len() - 1
            }),
        };
        let Some(row) = self.count.checked_sub(1).and_then(|last| rows.get_mut(last)) else { return };
        if row.values.len() <= place {
            row.values.resize(place + 1, None);
        }
        if let Some(slot) = row.values.get_mut(place) {
            *slot = Some(value);
        }
    }

    /// Writes the columns that have a value in this pass.
    pub(super) fn write(&self, out: &mut dyn Sink) {
        let rows = self.rows.get(..self.count).unwrap_or_default();
        for (place, (_, family)) in self.columns.iter().enumerate() {
            let mut values = rows.iter().filter_map(|row| Some((row, (*row.values.get(place)?)?))).peekable();
            if values.peek().is_none() || !is_name(&family.name) || out.has_family(&family.name) {
                continue;
            }
            out.family(&family.desc());
            for (row, value) in values {
                let value = u64::try_from(value).map_or(Value::F64(value as f64), Value::U64);
                out.sample(&row.labels.each_ref().map(String::as_str), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::text::TextEncoder;

    #[test]
    fn columns_are_families_and_a_row_may_lack_some() {
        let mut table = Table::new(["x_", "the "], &["l"]);
        for (rows, want) in [
            (
                vec![("a", vec![("n-r", 1), ("w", -2)]), ("b", vec![("w", 3)])],
                "x_n_r{l=\"a\"} 1 x_w{l=\"a\"} -2 x_w{l=\"b\"} 3",
            ),
            (vec![("b", vec![("w", 4)])], "x_w{l=\"b\"} 4"),
        ] {
            table.begin();
            for (label, numbers) in rows {
                table.row([label]);
                for (place, (key, value)) in numbers.into_iter().enumerate() {
                    table.set(place, key, value);
                }
            }
            let mut out = TextEncoder::default();
            table.write(&mut out);
            let page = String::from_utf8(out.page().to_vec()).unwrap();
            assert_eq!(page.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>().join(" "), want);
        }
    }
}
