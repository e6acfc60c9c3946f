//! What is wrong with an expression, or with what it met.

use std::fmt;

/// Why an expression has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is none; the parser's words.
    Syntax(String),
    /// It is one, and holds something that is not built here; what.
    Unsupported(String),
    /// The data do not fit it: two series of the same labels, for example.
    Evaluation(String),
    /// It wants more than the limit.
    TooMuch(String),
    /// It took too long.
    Late,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(why) => write!(f, "not an expression: {why}"),
            Self::Unsupported(what) => write!(f, "not supported here: {what}"),
            Self::Evaluation(why) => f.write_str(why),
            Self::TooMuch(what) => write!(f, "more than the limit: {what}"),
            Self::Late => f.write_str("it took too long"),
        }
    }
}

impl std::error::Error for Error {}
