//! Which part of time each selector of an expression looks at, so that it is fetched once.

use super::error::Error;
use promql_parser::parser::{AtModifier, Expr, Offset};
use std::time::{Duration, SystemTime};

/// A stretch of time, both ends belonging to it, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its begin.
    pub from: i64,
    /// Its end.
    pub to: i64,
}

/// A duration in whole milliseconds.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

/// How far an expression looks back; ahead, where it is negative.
pub(super) fn offset(offset: Option<&Offset>) -> i64 {
    match offset {
        None => 0,
        Some(Offset::Pos(back)) => millis(*back),
        Some(Offset::Neg(ahead)) => -millis(*ahead),
    }
}

/// The time that `@` fixes, within a query over `whole`; nothing without one.
pub(super) fn at(at: Option<&AtModifier>, whole: Window) -> Option<i64> {
    Some(match at? {
        AtModifier::Start => whole.from,
        AtModifier::End => whole.to,
        AtModifier::At(time) => match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => millis(since),
            Err(before) => -millis(before.duration()),
        },
    })
}

/// The stretch of a range that ends `back` before a time.
pub(super) fn before(at: i64, back: i64, range: i64) -> Window {
    let to = at.saturating_sub(back);
    Window { from: to.saturating_sub(range), to }
}

/// Calls `found` with each selector and what it looks at, if `expr` is evaluated at all times of `window`.
pub(super) fn walk<'a>(
    expr: &'a Expr,
    window: Window,
    whole: Window,
    lookback: i64,
    found: &mut impl FnMut(&'a promql_parser::parser::VectorSelector, Window),
) -> Result<(), Error> {
    let moved = |fixed: Option<i64>, back: i64, range: i64| {
        let Window { from, to } = fixed.map_or(window, |at| Window { from: at, to: at });
        Window { from: from.saturating_sub(back).saturating_sub(range), to: to.saturating_sub(back) }
    };
    match expr {
        Expr::VectorSelector(s) => {
            found(s, moved(at(s.at.as_ref(), whole), offset(s.offset.as_ref()), lookback));
        }
        Expr::MatrixSelector(m) => {
            let back = offset(m.vs.offset.as_ref());
            found(&m.vs, moved(at(m.vs.at.as_ref(), whole), back, millis(m.range)));
        }
        Expr::Subquery(s) => {
            let inner = moved(at(s.at.as_ref(), whole), offset(s.offset.as_ref()), millis(s.range));
            walk(&s.expr, inner, whole, lookback, found)?;
        }
        Expr::Aggregate(a) => {
            for expr in a.param.iter().chain([&a.expr]) {
                walk(expr, window, whole, lookback, found)?;
            }
        }
        Expr::Binary(b) => {
            walk(&b.lhs, window, whole, lookback, found)?;
            walk(&b.rhs, window, whole, lookback, found)?;
        }
        Expr::Call(c) => {
            for expr in &c.args.args {
                walk(expr, window, whole, lookback, found)?;
            }
        }
        Expr::Unary(u) => walk(&u.expr, window, whole, lookback, found)?,
        Expr::Paren(p) => walk(&p.expr, window, whole, lookback, found)?,
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => {}
        Expr::Extension(e) => return Err(Error::Unsupported(e.expr.name().to_owned())),
    }
    Ok(())
}
