//! Header edits of a route: fields to set and to remove.
//!
//! Guarantees: no edit touches the framing of a message, fields of one connection or, on a request,
//! the `Via` that marks its way. A result is a valid field value whatever the placeholders stand
//! for. Removals come first; setting replaces all lines of a name.

use std::{fmt, net::IpAddr};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header, uri::PathAndQuery};

use crate::{
    downstream::tls::client_auth::ClientCertificate,
    http::{
        error::{Error, Kind},
        fields::is_framing,
        header_list::HeaderList,
        request_id::{Digits, RequestId},
    },
    runtime::{decimal::write_address, hint::Hinted},
};

/// Placeholders in values, as written.
pub const PLACEHOLDERS: [&str; 11] = [
    "{client_ip}",
    "{host}",
    "{path}",
    "{query}",
    "{request_id}",
    "{route}",
    "{scheme}",
    "{tls_client_fingerprint}",
    "{tls_client_subject}",
    "{tls_client_verified}",
    "{user}",
];

/// Kind of edited messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Forwarded requests.
    Request,
    /// Responses of an upstream.
    Response,
}

/// Edits of one kind of message on one route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, Template)>,
}

/// Values of the placeholders.
#[derive(Clone, Copy, Debug)]
pub struct EditContext<'a> {
    /// `{client_ip}`: client address.
    pub client: IpAddr,
    /// `{host}`: requested host, lower case, without a port.
    pub host: &'a str,
    /// `{path}`: path as received.
    pub path: &'a str,
    /// `{query}`: query as received with its `?`; empty without one.
    pub query: &'a str,
    /// `{request_id}`: the `id` of the log line.
    pub request_id: &'a RequestId,
    /// `{route}`: name of the route.
    pub route: &'a str,
    /// `{scheme}`: `http` or `https`.
    pub scheme: &'static str,
    /// `{tls_client_...}`: verified certificate of the client, if it showed one.
    pub tls_client: Option<&'a ClientCertificate>,
    /// `{user}`: verified user, if there is one.
    pub user: Option<&'a str>,
}

impl<'a> EditContext<'a> {
    /// The same with `{path}` and `{query}` of another target, if there is one.
    #[must_use]
    pub fn of_target(self, target: Option<&'a PathAndQuery>) -> Self {
        match target {
            Some(target) => Self { path: target.path(), query: query_with_mark(target), ..self },
            None => self,
        }
    }
}

/// Query with its `?`; empty without one.
#[must_use]
pub fn query_with_mark(target: &PathAndQuery) -> &str {
    target.as_str().get(target.path().len()..).unwrap_or("")
}

/// Value with placeholders. Its `Debug` output hides the text, which may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(Kept);

#[derive(Clone, PartialEq, Eq)]
enum Kept {
    Constant(HeaderValue),
    RequestId,
    Pieces(Vec<Piece>),
}

#[derive(Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    ClientIp,
    Host,
    Path,
    Query,
    RequestId,
    Route,
    Scheme,
    TlsFingerprint,
    TlsSubject,
    TlsVerified,
    User,
}

/// Reason why a field cannot be edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is not a field name.
    #[error("is not a header name")]
    Malformed,
    /// The field frames the message or belongs to one connection.
    #[error("belongs to the connection or the framing")]
    Framing,
    /// The field describes the coding of the body.
    #[error("describes the coding of the body")]
    Coding,
    /// The field asks for an interim response.
    #[error("is handled by weir itself")]
    Expect,
    /// The field marks the way of the request.
    #[error("records that the request passed here")]
    Via,
}

impl Hinted for NameError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Malformed => "use letters, digits and `-`, like `x-frame-options`",
            Self::Framing => "weir sets it itself on each side",
            Self::Coding => "edits do not change bodies; `response.compress` does",
            Self::Expect => "weir sends `100 Continue` when it reads the body",
            Self::Via => "it is needed to detect loops (RFC 9110, section 7.6.3)",
        };
        Some(text.to_owned())
    }
}

/// Reason why a text is not a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The text is empty.
    #[error("there is no value")]
    Empty,
    /// Leading or trailing space is not part of a value.
    #[error("`{0}` begins or ends with a space")]
    Space(String),
    /// The text has a character that a field cannot contain.
    #[error("`{}` is not allowed in a header value", .0.escape_debug())]
    Character(char),
    /// A brace has no counterpart.
    #[error("unmatched `{0}`")]
    Brace(char),
    /// There is no placeholder of this name.
    #[error("unknown placeholder `{0}`")]
    Unknown(String),
}

impl Hinted for TemplateError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Empty => "to remove the header write `remove: [ NAME ]`",
            Self::Space(_) => "remove the space; it is not part of a value",
            Self::Character(_) => "use letters, digits, signs and spaces of ASCII",
            Self::Brace(sign) => return Some(format!("write `{sign}{sign}` for the sign itself")),
            Self::Unknown(_) => return None,
        };
        Some(text.to_owned())
    }
}

/// Parses the name of a field that may be edited in these messages.
///
/// # Errors
/// The reason why it may not.
pub fn name(text: &str, message: Message) -> Result<HeaderName, NameError> {
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| NameError::Malformed)?;
    match (message, &name) {
        (_, name) if is_framing(name) => Err(NameError::Framing),
        (_, &header::CONTENT_ENCODING) => Err(NameError::Coding),
        (_, &header::EXPECT) => Err(NameError::Expect),
        (Message::Request, &header::VIA) => Err(NameError::Via),
        _ => Ok(name),
    }
}

impl Edits {
    /// Builds edits that remove and set these fields; a name is in one of the two lists.
    #[must_use]
    pub fn new(remove: Vec<HeaderName>, set: Vec<(HeaderName, Template)>) -> Self {
        Self { remove, set }
    }

    /// Returns true if there are no edits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty()
    }

    /// Names of the fields that are about the certificate of a client.
    pub fn certificate_fields(&self) -> impl Iterator<Item = &HeaderName> {
        self.set
            .iter()
            .filter(|(_, template)| template.is_about_certificate())
            .map(|(name, _)| name)
    }

    /// Edits a message.
    ///
    /// # Errors
    /// [`Kind::ProxyInternalError`] when a rendered value is not a field value, which no
    /// placeholder of weir causes.
    pub fn apply(&self, headers: &mut HeaderList, facts: &EditContext<'_>) -> Result<(), Error> {
        for name in &self.remove {
            headers.remove_any(name);
        }
        for (name, template) in &self.set {
            // No one is named: neither by an empty field, nor by that of the client.
            if template.names_no_one(facts) {
                headers.remove_any(name);
            } else {
                headers.set_any(name, &template.render(facts)?);
            }
        }
        Ok(())
    }
}

impl Template {
    /// Parses a value: `{{` and `}}` are braces.
    ///
    /// # Errors
    /// The reason why it is not a value.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.trim_ascii() != text {
            return Err(TemplateError::Space(text.to_owned()));
        }
        if let Some(wrong) =
            text.chars().find(|c| !(c.is_ascii_graphic() || *c == ' ' || *c == '\t'))
        {
            return Err(TemplateError::Character(wrong));
        }
        let mut pieces = pieces(text)?;
        Ok(Self(match pieces.as_mut_slice() {
            [] => return Err(TemplateError::Empty),
            [Piece::Text(text)] => {
                let wrong = |_| TemplateError::Space(text.clone());
                Kept::Constant(HeaderValue::from_str(text).map_err(wrong)?)
            }
            [Piece::RequestId] => Kept::RequestId,
            _ => Kept::Pieces(pieces),
        }))
    }

    /// Returns true if the value would name someone, and no one is known.
    fn names_no_one(&self, facts: &EditContext<'_>) -> bool {
        let Kept::Pieces(pieces) = &self.0 else { return false };
        // A value that is half filled would be worse than none: `user=` may mean every user to a
        // service.
        pieces.iter().any(|piece| match piece {
            Piece::User => facts.user.is_none(),
            Piece::TlsFingerprint => facts.tls_client.is_none(),
            Piece::TlsSubject => facts.tls_client.is_none_or(|client| client.subject.is_empty()),
            _ => false,
        })
    }

    /// Returns true if the value is about the certificate of a client.
    fn is_about_certificate(&self) -> bool {
        let Kept::Pieces(pieces) = &self.0 else { return false };
        let is_about = |piece: &Piece| {
            matches!(piece, Piece::TlsFingerprint | Piece::TlsSubject | Piece::TlsVerified)
        };
        pieces.iter().any(is_about)
    }

    /// Renders the value for one request.
    ///
    /// # Errors
    /// [`Kind::ProxyInternalError`] when it is not a field value, which no placeholder of weir causes.
    pub fn render(&self, facts: &EditContext<'_>) -> Result<HeaderValue, Error> {
        match &self.0 {
            Kept::Constant(value) => Ok(value.clone()),
            Kept::RequestId => Ok(facts.request_id.value()),
            Kept::Pieces(pieces) => {
                let mut value = Vec::with_capacity(64);
                pieces.iter().for_each(|piece| piece.write(&mut value, facts));
                let wrong = |cause| {
                    Error::caused(
                        Kind::ProxyInternalError,
                        "a header edit makes an invalid value",
                        cause,
                    )
                };
                HeaderValue::from_maybe_shared(Bytes::from(value)).map_err(wrong)
            }
        }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template(..)")
    }
}

impl Piece {
    fn of(placeholder: &str) -> Option<Self> {
        Some(match placeholder {
            "client_ip" => Self::ClientIp,
            "host" => Self::Host,
            "path" => Self::Path,
            "query" => Self::Query,
            "request_id" => Self::RequestId,
            "route" => Self::Route,
            "scheme" => Self::Scheme,
            "tls_client_fingerprint" => Self::TlsFingerprint,
            "tls_client_subject" => Self::TlsSubject,
            "tls_client_verified" => Self::TlsVerified,
            "user" => Self::User,
            _ => return None,
        })
    }

    fn write(&self, value: &mut Vec<u8>, facts: &EditContext<'_>) {
        match self {
            Self::Text(text) => value.extend_from_slice(text.as_bytes()),
            Self::ClientIp => write_address(value, facts.client.to_canonical()),
            Self::Host => value.extend_from_slice(facts.host.as_bytes()),
            Self::Path => value.extend_from_slice(facts.path.as_bytes()),
            Self::Query => value.extend_from_slice(facts.query.as_bytes()),
            Self::RequestId => {
                value.extend_from_slice(facts.request_id.text(&mut Digits::default()));
            }
            Self::Route => value.extend_from_slice(facts.route.as_bytes()),
            Self::Scheme => value.extend_from_slice(facts.scheme.as_bytes()),
            Self::TlsFingerprint => {
                let client = facts.tls_client.map(|client| &*client.fingerprint);
                value.extend_from_slice(client.unwrap_or_default().as_bytes());
            }
            Self::TlsSubject => {
                let client = facts.tls_client.map(|client| &*client.subject);
                value.extend_from_slice(client.unwrap_or_default().as_bytes());
            }
            Self::TlsVerified => {
                let is_verified = facts.tls_client.is_some();
                value.extend_from_slice(if is_verified { b"true" } else { b"false" });
            }
            Self::User => value.extend_from_slice(facts.user.unwrap_or_default().as_bytes()),
        }
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        let (brace, behind) = rest[at..].split_at(1);
        if let Some(behind) = behind.strip_prefix(brace) {
            plain.push_str(brace);
            rest = behind;
            continue;
        }
        let named = if brace == "{" { behind.split_once('}') } else { None };
        let Some((placeholder, behind)) = named else {
            return Err(TemplateError::Brace(if brace == "{" { '{' } else { '}' }));
        };
        let piece = Piece::of(placeholder)
            .ok_or_else(|| TemplateError::Unknown(format!("{{{placeholder}}}")))?;
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(piece);
        rest = behind;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::proxy::header_edits::*;

    fn rendered(text: &str) -> Result<String, TemplateError> {
        let facts = EditContext {
            client: IpAddr::from([192, 0, 2, 1]),
            host: "a.test",
            path: "/x/y",
            query: "?q=1",
            request_id: &RequestId::Received(HeaderValue::from_static("77")),
            route: "a.test/x",
            scheme: "https",
            tls_client: Some(&ClientCertificate {
                subject: "CN=ada,O=test".into(),
                fingerprint: "00ff".into(),
            }),
            user: Some("ada"),
        };
        let value = Template::parse(text)?.render(&facts).expect("a field value");
        Ok(value.to_str().expect("ASCII").to_owned())
    }

    #[test]
    fn placeholders_stand_for_what_is_known_of_the_request() {
        for (text, value) in [
            ("DENY", "DENY"),
            ("{request_id}", "77"),
            (
                "{scheme}://{host}/ for {client_ip} by {route}",
                "https://a.test/ for 192.0.2.1 by a.test/x",
            ),
            ("{{\"id\": \"{request_id}\"}}", "{\"id\": \"77\"}"),
            ("{{{host}}}", "{a.test}"),
            ("user {user}", "user ada"),
            ("{tls_client_verified} {tls_client_subject}", "true CN=ada,O=test"),
            ("{tls_client_fingerprint}", "00ff"),
            ("https://{host}{path}{query}", "https://a.test/x/y?q=1"),
        ] {
            assert_eq!(rendered(text).as_deref(), Ok(value), "{text}");
        }
        for placeholder in PLACEHOLDERS {
            assert!(rendered(placeholder).is_ok(), "{placeholder}");
        }
    }

    #[test]
    fn header_edit_invalid_value_is_an_error() {
        for (text, error) in [
            ("", TemplateError::Empty),
            (" a", TemplateError::Space(" a".into())),
            ("a\r\nb", TemplateError::Character('\r')),
            ("gr\u{fc}n", TemplateError::Character('\u{fc}')),
            ("{host", TemplateError::Brace('{')),
            ("a}", TemplateError::Brace('}')),
            ("{Host}", TemplateError::Unknown("{Host}".into())),
            ("{}", TemplateError::Unknown("{}".into())),
        ] {
            assert_eq!(rendered(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn no_edit_touches_framing_the_connection_or_the_mark_of_a_proxy() {
        let of = |text: &str, message| name(text, message).map(|name| name.to_string());
        for text in [
            "Content-Length",
            "transfer-encoding",
            "te",
            "Trailer",
            "connection",
            "keep-alive",
            "upgrade",
        ] {
            for message in [Message::Request, Message::Response] {
                assert_eq!(of(text, message), Err(NameError::Framing), "{text}");
            }
        }
        assert_eq!(of("content-encoding", Message::Response), Err(NameError::Coding));
        assert_eq!(of("via", Message::Request), Err(NameError::Via));
        assert_eq!(of("via", Message::Response), Ok("via".to_owned()));
        assert_eq!(of("X Y", Message::Request), Err(NameError::Malformed));
        assert_eq!(of("X-Forwarded-Proto", Message::Request), Ok("x-forwarded-proto".to_owned()));
    }

    #[test]
    fn header_edit_set_replaces_and_remove_removes() {
        let mut headers = HeaderList::default();
        for (name, value) in
            [("server", "a"), ("X-A", "1"), ("x-a", "2"), ("x-b", "3"), ("x-d", "4")]
        {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(&name, &value.parse().expect("a value"));
        }
        let constant = |value| Template::parse(value).expect("a value");
        let set = vec![
            (HeaderName::from_static("x-a"), constant("9")),
            (HeaderName::from_static("x-b"), constant("user {user}")),
            (HeaderName::from_static("x-c"), constant("8")),
            (HeaderName::from_static("x-d"), constant("{tls_client_subject}")),
            (HeaderName::from_static("x-e"), constant("{tls_client_verified}")),
        ];
        let edits = Edits::new(vec![header::SERVER, header::AGE], set);
        let nobody = RequestId::Received(HeaderValue::from_static(""));
        let facts = EditContext {
            client: IpAddr::from([0; 4]),
            host: "",
            path: "/",
            query: "",
            request_id: &nobody,
            route: "",
            scheme: "http",
            tls_client: None,
            user: None,
        };
        edits.apply(&mut headers, &facts).expect("constant values");
        let mut written = Vec::new();
        headers.write(&mut written);
        assert_eq!(written, b"x-a: 9\r\nx-c: 8\r\nx-e: false\r\n", "no user, no field");
    }

    proptest! {
        #[test]
        fn headers_that_can_be_read_can_be_written(text in "([ -~]|\\{host\\}|\\{scheme\\}|\\{\\{|\\}\\}|\\PC){0,20}") {
            let _ = rendered(&text);
        }
    }
}
