//! What of the language is built here: asked when an expression is read.

use super::error::Error;
use super::{call, over_time, rate};
use promql_parser::parser::token::{T_LIMIT_RATIO, T_LIMITK};
use promql_parser::parser::{Expr, VectorSelector};

/// Refuses what could not be evaluated, by its name.
pub(super) fn check(expr: &Expr) -> Result<(), Error> {
    let unsupported = |what: String| Err(Error::Unsupported(what));
    match expr {
        Expr::VectorSelector(s) => selector(s),
        Expr::MatrixSelector(m) => selector(&m.vs),
        Expr::Subquery(s) => check(&s.expr),
        Expr::Unary(u) => check(&u.expr),
        Expr::Paren(p) => check(&p.expr),
        Expr::Aggregate(a) => {
            if [T_LIMITK, T_LIMIT_RATIO].contains(&a.op.id()) {
                return unsupported(format!("the aggregation {}", a.op));
            }
            a.param.iter().chain([&a.expr]).try_for_each(|e| check(e))
        }
        Expr::Binary(b) => {
            let fills =
                |m: &promql_parser::parser::BinModifier| m.fill_values.lhs.or(m.fill_values.rhs).is_some();
            if b.modifier.as_ref().is_some_and(fills) {
                return unsupported("fill values".to_owned());
            }
            check(&b.lhs)?;
            check(&b.rhs)
        }
        Expr::Call(c) => {
            let name = c.func.name;
            if !call::NAMES.contains(&name) && over_time::find(name).is_none() && rate::find(name).is_none() {
                return unsupported(format!("the function {name}()"));
            }
            c.args.args.iter().try_for_each(|e| check(e))
        }
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(()),
        Expr::Extension(e) => unsupported(e.expr.name().to_owned()),
    }
}

fn selector(selector: &VectorSelector) -> Result<(), Error> {
    if selector.matchers.or_matchers.is_empty() {
        Ok(())
    } else {
        Err(Error::Unsupported("`or` between matchers".to_owned()))
    }
}
