//! Names and labels of mappings, in which `$1` or `${1}` stands for what a star or a group matched.

/// A text with places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// From 0.
    Capture(usize),
}

impl Template {
    /// The template of a text; a place beyond `captures` is empty.
    pub(super) fn new(text: &str, captures: usize) -> Self {
        let (mut out, mut rest) = (Vec::new(), text);
        while let Some((before, behind)) = rest.split_once('$') {
            out.push(Part::Text(before.to_owned()));
            let inside = behind.strip_prefix('{').unwrap_or(behind);
            let end = inside.find(|c: char| !c.is_ascii_digit()).unwrap_or(inside.len());
            let (digits, after) = inside.split_at_checked(end).unwrap_or((inside, ""));
            if digits.is_empty() {
                out.push(Part::Text("$".to_owned()));
                rest = behind;
                continue;
            }
            if let Ok(number @ 1..) = digits.parse::<usize>()
                && number <= captures
            {
                out.push(Part::Capture(number - 1));
            }
            rest = after.strip_prefix('}').unwrap_or(after);
        }
        out.push(Part::Text(rest.to_owned()));
        out.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Self(out)
    }

    /// The text with what was matched in its places.
    pub(super) fn fill(&self, captures: &[&str]) -> String {
        self.0.iter().fold(String::new(), |all, part| match part {
            Part::Text(text) => all + text,
            Part::Capture(at) => all + captures.get(*at).copied().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled() {
        for (text, want) in [
            ("a_$1_b_${2}c", "a_X_b_Yc"),
            ("$2$1", "YX"),
            ("$3-$0", "-"),
            ("plain", "plain"),
            ("a$", "a$"),
            ("$x$1", "$xX"),
        ] {
            assert_eq!(Template::new(text, 2).fill(&["X", "Y"]), want, "{text}");
        }
    }
}
