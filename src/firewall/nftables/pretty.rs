//! Writes a rule as nft's own language has it, for people; what it cannot say is shown as compact JSON.

use serde_json::Value;

use super::canonical::Rule;

/// The longest text of a rule that is shown.
const MAX_CHARS: usize = 160;

/// Writes a rule, shortened.
pub fn rule(rule: &Rule) -> String {
    let mut text = rule.statements.iter().map(statement).collect::<Vec<_>>().join(" ");
    if let Some(comment) = &rule.comment {
        text.push_str(&format!(" comment {comment}"));
    }
    if text.chars().count() > MAX_CHARS {
        text = text.chars().take(MAX_CHARS).chain(['…']).collect();
    }
    text
}

fn statement(statement: &Value) -> String {
    known_statement(statement).unwrap_or_else(|| statement.to_string())
}

fn known_statement(statement: &Value) -> Option<String> {
    let (kind, content) = statement.as_object()?.iter().next()?;
    match (kind.as_str(), content) {
        ("accept" | "drop" | "return" | "continue" | "notrack" | "counter" | "reject" | "masquerade", Value::Null) => {
            Some(kind.clone())
        }
        ("jump" | "goto", target) => Some(format!("{kind} {}", target.get("target")?.as_str()?)),
        ("match", parts) => {
            let left = expression(parts.get("left")?);
            let right = expression(parts.get("right")?);
            match parts.get("op")?.as_str()? {
                "==" | "in" => Some(format!("{left} {right}")),
                other => Some(format!("{left} {other} {right}")),
            }
        }
        ("limit", limit) => known_limit(limit),
        _ => None,
    }
}

fn known_limit(limit: &Value) -> Option<String> {
    let over = if limit.get("inv").is_some_and(|inverted| *inverted == Value::Bool(true)) { "over " } else { "" };
    let (rate, per) = (limit.get("rate")?, limit.get("per")?.as_str()?);
    let burst = limit.get("burst").map_or_else(String::new, |burst| format!(" burst {burst} packets"));
    Some(format!("limit rate {over}{rate}/{per}{burst}"))
}

fn expression(value: &Value) -> String {
    known_expression(value).unwrap_or_else(|| value.to_string())
}

fn known_expression(value: &Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    let (kind, content) = value.as_object()?.iter().next()?;
    let word = |key: &str| content.get(key).and_then(Value::as_str);
    match kind.as_str() {
        "payload" => Some(format!("{} {}", word("protocol")?, word("field")?)),
        "meta" => Some(match word("key")? {
            key @ ("iif" | "oif" | "iifname" | "oifname") => key.to_owned(),
            key => format!("meta {key}"),
        }),
        "ct" => Some(format!("ct {}", word("key")?)),
        "fib" => {
            let flags: Vec<&str> = content.get("flags")?.as_array()?.iter().filter_map(Value::as_str).collect();
            Some(format!("fib {} {}", flags.join(" . "), word("result")?))
        }
        "range" => Some(format!("{}-{}", expression(content.get(0)?), expression(content.get(1)?))),
        "prefix" => Some(format!("{}/{}", word("addr")?, content.get("len")?)),
        "set" => {
            let members: Vec<String> = content.as_array()?.iter().map(expression).collect();
            Some(format!("{{ {} }}", members.join(", ")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(statements: Value) -> String {
        let statements = statements.as_array().unwrap().clone();
        rule(&Rule { statements, ..Rule::default() })
    }

    #[test]
    fn rules_read_as_in_nft() {
        let port = |right: Value| json!({"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": right}});
        assert_eq!(shown(json!([port(json!(22)), {"accept": null}])), "tcp dport 22 accept");
        assert_eq!(shown(json!([port(json!({"range": [1, 9]})), {"jump": {"target": "x"}}])), "tcp dport 1-9 jump x");
        assert_eq!(shown(json!([port(json!({"set": [1, 9]})), {"counter": null}])), "tcp dport { 1, 9 } counter");
        let transit =
            json!({"match": {"op": "!=", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "local"}});
        assert_eq!(shown(json!([transit, {"return": null}])), "fib daddr type != local return");
        let limit = json!({"limit": {"rate": 10, "burst": 20, "per": "second", "inv": true}});
        assert_eq!(shown(json!([limit, {"drop": null}])), "limit rate over 10/second burst 20 packets drop");
    }

    #[test]
    fn what_is_not_known_is_shown_as_it_is() {
        assert_eq!(shown(json!([{"quota": {"val": 1}}])), r#"{"quota":{"val":1}}"#);
    }

    #[test]
    fn a_long_rule_is_cut() {
        let text = shown(json!([{"x": "y".repeat(1000)}]));
        assert_eq!(text.chars().count(), MAX_CHARS + 1);
    }
}
