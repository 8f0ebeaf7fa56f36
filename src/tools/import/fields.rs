//! Header fields: `proxy_set_header`, `add_header`, `proxy_hide_header`.

use super::{
    levels::Level,
    plan::RoutePlan,
    translation::Translation,
    tree::Directive,
    values::{ValuePiece, pieces, with_set},
};
use crate::config::directives::Treatment;

/// Request a field belongs to.
#[derive(Clone, Copy, Debug)]
pub struct FieldPlace<'a> {
    /// Directives that hold there.
    pub level: &'a Level<'a>,
    /// Host and port of the `proxy_pass`.
    pub authority: &'a str,
    /// First name of the server.
    pub server_name: &'a str,
    /// Port of the listener, if the server has one only.
    pub port: &'a str,
    /// True if a user is verified.
    pub has_user: bool,
}

/// Treatment of a field of the request.
enum Edit {
    Set(String),
    Remove,
    /// weir forwards the same without an edit.
    Same(&'static str),
    /// weir forwards something else without an edit.
    Near(&'static str),
}

/// Plans the fields of requests; `kind` is `proxy` or `grpc`.
pub fn of_requests(
    state: &mut Translation<'_>,
    place: FieldPlace<'_>,
    kind: &str,
    route: &mut RoutePlan,
) {
    for directive in place.level.all(&format!("{kind}_set_header")) {
        let name = directive.arg(0).to_ascii_lowercase();
        if is_of_verdict(state, directive, &name, route) {
            continue;
        }
        let outcome = edit(&name, directive, place).and_then(|edit| {
            let value = match &edit {
                Edit::Set(value) => Some(&**value),
                Edit::Remove => None,
                Edit::Same(_) | Edit::Near(_) => return Ok(edit),
            };
            match state.loads.edit("request", &name, value) {
                Some(reason) => Err(reason),
                None => Ok(edit),
            }
        });
        match outcome {
            Ok(Edit::Set(value)) => {
                state.notes.carry(directive);
                route.set_request.insert(name, value);
            }
            Ok(Edit::Remove) => {
                state.notes.carry(directive);
                if !route.remove_request.contains(&name) {
                    route.remove_request.push(name);
                }
            }
            Ok(Edit::Same(reason)) => state.notes.discard(directive, reason),
            Ok(Edit::Near(reason)) => state.notes.tell(directive, Treatment::Noted, reason),
            Err(reason) => {
                route.remarks.add(format!("without `{name}`: {reason}"));
                state.notes.refuse(directive, reason);
            }
        }
    }
    // A name is set or removed, not both.
    route.remove_request.retain(|name| !route.set_request.contains_key(name));
}

/// Plans a field that has the value of one of the verdict of `auth_request`. Another name is only
/// kept from clients: nginx replaces what they send.
fn is_of_verdict(
    state: &mut Translation<'_>,
    directive: &Directive,
    name: &str,
    route: &mut RoutePlan,
) -> bool {
    let (Some(auth), Some(variable)) = (&mut route.guard.auth, directive.arg(1).strip_prefix('$'))
    else {
        return false;
    };
    let Some((_, field)) = auth.variables.iter().find(|(known, _)| known == variable) else {
        return false;
    };
    if field == name {
        state.notes.carry(directive);
    } else {
        let reason = format!("the verdict has it as `{field}`, and fields keep their names");
        route.remarks.add(format!("without `{name}`: {reason}"));
        state.notes.refuse(directive, reason);
    }
    if !auth.pass.iter().any(|known| known == name) {
        auth.pass.push(name.to_owned());
    }
    true
}

fn edit(name: &str, directive: &Directive, place: FieldPlace<'_>) -> Result<Edit, String> {
    const AS_RECEIVED: &str = "it is forwarded as received";
    const OWN: &str = "weir writes it itself";
    let value = with_set(directive.arg(1), place.level);
    let variable = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).unwrap_or("");
    Ok(match (name, variable) {
        ("upgrade" | "connection" | "keep-alive" | "te" | "proxy-connection", _) => {
            Edit::Same("weir opens, keeps and upgrades connections itself")
        }
        ("host", "host" | "http_host") => Edit::Same(AS_RECEIVED),
        ("host", _) if value == "${host}:${server_port}" => Edit::Same(AS_RECEIVED),
        ("host", "proxy_host") => Edit::Set(place.authority.to_owned()),
        ("x-real-ip", "remote_addr" | "realip_remote_addr") => Edit::Same(OWN),
        ("x-forwarded-for", "proxy_add_x_forwarded_for") => Edit::Same(OWN),
        ("x-forwarded-proto", "scheme") => Edit::Same(OWN),
        ("x-forwarded-host", "host" | "http_host") => Edit::Same(OWN),
        ("x-request-id", "request_id") => Edit::Same(OWN),
        (name, variable) if variable.strip_prefix("http_") == Some(&name.replace('-', "_")) => {
            match name.starts_with("x-forwarded") || name == "x-real-ip" {
                true => Edit::Near("only what a trusted proxy sends is forwarded"),
                false => Edit::Same(AS_RECEIVED),
            }
        }
        (_, _) if value.is_empty() => Edit::Remove,
        _ => Edit::Set(template(&value, place)?),
    })
}

/// Value of a field with the placeholders of weir.
fn template(value: &str, place: FieldPlace<'_>) -> Result<String, String> {
    let mut text = String::new();
    for piece in pieces(value) {
        let name = match piece {
            ValuePiece::Text(plain) => {
                text += &plain.replace('{', "{{").replace('}', "}}");
                continue;
            }
            ValuePiece::Variable(name) => name,
        };
        text += match &*name {
            "remote_addr" | "realip_remote_addr" => "{client_ip}",
            "host" | "http_host" => "{host}",
            "request_id" => "{request_id}",
            "scheme" => "{scheme}",
            "remote_user" if place.has_user => "{user}",
            "server_name" if !place.server_name.is_empty() => place.server_name,
            "server_port" if !place.port.is_empty() => place.port,
            "proxy_host" => place.authority,
            _ => return Err(format!("`${name}` has no placeholder")),
        };
    }
    Ok(text)
}

/// Plans the fields of responses.
pub fn of_responses(
    state: &mut Translation<'_>,
    place: FieldPlace<'_>,
    kind: &str,
    route: &mut RoutePlan,
) {
    for directive in place.level.all("add_header") {
        let name = directive.arg(0).to_ascii_lowercase();
        let value = with_set(directive.arg(1), place.level);
        let planned = match route.set_response.contains_key(&name) {
            true => Err("a field is set once".to_owned()),
            // nginx adds no field without a value.
            false if value.is_empty() => Err("it has no value".to_owned()),
            false => template(&value, place).and_then(|value| {
                let reason = state.loads.edit("response", &name, Some(&value));
                reason.map_or(Ok(value), Err)
            }),
        };
        match planned {
            Ok(value) => {
                match directive.arg(2) {
                    "always" => state.notes.carry(directive),
                    _ => state.notes.tell(
                        directive,
                        Treatment::Noted,
                        "on every status of the upstream",
                    ),
                }
                route.set_response.insert(name, value);
            }
            Err(reason) => {
                route.remarks.add(format!("without `{name}`: {reason}"));
                state.notes.refuse(directive, reason);
            }
        }
    }
    for directive in place.level.all(&format!("{kind}_hide_header")) {
        let name = directive.arg(0).to_ascii_lowercase();
        if let Some(reason) = state.loads.edit("response", &name, None) {
            state.notes.refuse(directive, reason);
            continue;
        }
        state.notes.carry(directive);
        if !route.remove_response.contains(&name) && !route.set_response.contains_key(&name) {
            route.remove_response.push(name);
        }
    }
}
