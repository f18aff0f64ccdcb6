//! `${VAR}` and `${VAR:-default}` in text values; `$${` is a `${` that stays.

use crate::units::Fault;

/// `text` with its variables replaced. An unset one without a default is a fault, an empty one is
/// as good as unset only where a default is given (as in a shell's `:-`).
pub(crate) fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Fault> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(literal) = before.strip_suffix('$') {
            expanded.push_str(literal);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        expanded.push_str(before);
        let Some((variable, after)) = after.split_once('}') else {
            return Err(Fault::new(
                "a `${` is never closed by a `}`",
                "write `$${` for a `${` that is to stay",
            ));
        };
        expanded.push_str(&value_of(variable, env)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn value_of(variable: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Fault> {
    let (name, default) = match variable.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (variable, None),
    };
    if !is_name(name) {
        return Err(Fault::new(
            format!("`${{{name}}}` does not name a variable"),
            "names are letters, digits and `_`; write `$${` for a `${` that is to stay",
        ));
    }
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Fault::new(
            format!("the variable {name} is not set"),
            format!("set it, or give a default: `${{{name}:-…}}`"),
        )),
    }
}

fn is_name(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced() {
        let env = |name: &str| match name {
            "HOST" => Some("db.internal".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let expanded = |text: &str| expand(text, &env).map_err(|fault| fault.reason);
        assert_eq!(expanded("plain $HOST"), Ok("plain $HOST".into()));
        assert_eq!(
            expanded("http://${HOST}:${PORT:-80}/"),
            Ok("http://db.internal:80/".into())
        );
        assert_eq!(expanded("${EMPTY}|${EMPTY:-x}"), Ok("|x".into()));
        assert_eq!(expanded("$${HOST}"), Ok("${HOST}".into()));
        assert_eq!(
            expanded("${PORT}"),
            Err("the variable PORT is not set".into())
        );
        assert!(expanded("${HOST").is_err());
        assert!(expanded("${}").is_err());
        assert!(expanded("${9}").is_err());
    }

    #[test]
    fn a_value_is_not_expanded_again() {
        let env = |name: &str| Some(format!("${{{name}}}"));
        assert_eq!(
            expand("${A}", &env).map_err(|fault| fault.reason),
            Ok("${A}".into())
        );
    }
}
