//! Access lines of a form of one's own: text with the variables of nginx's `log_format`.
//!
//! Guarantee: a line is one line. The text has no control character but tabs, and what comes from a
//! request is cut at [`FIELD`] bytes and escaped as nginx does.

use std::{str::FromStr, time::Duration};

use http::{HeaderName, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    entry::{AccessEntry, LimitStory, LoggedFields, escape, proto},
    json::{self, FIELD},
};
use crate::{
    http::{header_list::HeaderList, request_id::Digits},
    limit::{Decision, Headers, normal_form},
    runtime::decimal::{write_address, write_number},
};

/// Limit on the length of a format, in bytes.
pub const MAX_FORMAT: usize = 4 * 1024;
/// Prefixes of variables with the name of a field: of the request, and of the response.
const OF_FIELDS: [&str; 2] = ["http_", "sent_http_"];

/// Escape of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Escape {
    /// `\xXX` for quotation marks, backslashes and all that is not printable ASCII, and `-` for
    /// what is not there.
    #[default]
    Default,
    /// As in a JSON string, and nothing for what is not there.
    Json,
}

/// Format of an access line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFormat {
    pieces: Vec<Piece>,
    escape: Escape,
    /// Fields of requests that it shows.
    request: Vec<HeaderName>,
    /// Fields of responses that it shows.
    response: Vec<HeaderName>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Variable(Variable),
    RequestField(HeaderName),
    ResponseField(HeaderName),
}

/// Error of a text that is not a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFormatError {
    /// There is no such variable.
    #[error("there is no variable `${0}`")]
    Unknown(String),
    /// The text has no variable.
    #[error("`{0}` is not a format")]
    NoVariable(String),
    /// A `$` has no name behind it.
    #[error("`$` is not followed by the name of a variable")]
    NoName,
    /// A line would be more than one.
    #[error("a format has no control character but tabs")]
    Control,
    /// The text is too long.
    #[error("a format has at most {MAX_FORMAT} bytes")]
    TooLong,
}

/// Table of the variables without a name of a field.
macro_rules! variables {
    ($($name:literal => $variable:ident,)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Variable {
            $($variable,)+
        }

        /// Names of all variables, without `http_NAME` and `sent_http_NAME`.
        pub const NAMES: &[&str] = &[$($name,)+];

        fn variable(name: &str) -> Option<Variable> {
            match name {
                $($name => Some(Variable::$variable),)+
                _ => None,
            }
        }
    };
}

variables! {
    "args" => Args,
    "body_bytes_sent" => BodyBytesSent,
    "document_uri" => DocumentUri,
    "host" => Host,
    "is_args" => IsArgs,
    "limit_req_status" => LimitReqStatus,
    "limit_zone" => LimitZone,
    "msec" => Msec,
    "pid" => Pid,
    "query_string" => QueryString,
    "realip_remote_addr" => Peer,
    "remote_addr" => RemoteAddr,
    "remote_user" => RemoteUser,
    "request" => Request,
    "request_id" => RequestId,
    "request_method" => RequestMethod,
    "request_time" => RequestTime,
    "request_uri" => RequestUri,
    "route" => Route,
    "scheme" => Scheme,
    "server_protocol" => ServerProtocol,
    "status" => Status,
    "time_iso8601" => TimeIso8601,
    "time_local" => TimeLocal,
    "upstream_addr" => UpstreamAddr,
    "upstream_connect_time" => UpstreamConnectTime,
    "upstream_header_time" => UpstreamHeaderTime,
    "upstream_status" => UpstreamStatus,
    "uri" => Uri,
}

impl LineFormat {
    /// Parses a format.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str, escape: Escape) -> Result<Self, LineFormatError> {
        // Before anything is copied out of it.
        if text.len() > MAX_FORMAT {
            return Err(LineFormatError::TooLong);
        }
        if text.chars().any(|letter| letter.is_control() && letter != '\t') {
            return Err(LineFormatError::Control);
        }
        let mut format =
            Self { pieces: Vec::new(), escape, request: Vec::new(), response: Vec::new() };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            format.push_text(before);
            let (name, behind) = name_of(after).ok_or(LineFormatError::NoName)?;
            format.push_variable(name)?;
            rest = behind;
        }
        format.push_text(rest);
        if format.pieces.iter().all(|piece| matches!(piece, Piece::Text(_))) {
            return Err(LineFormatError::NoVariable(text.to_owned()));
        }
        Ok(format)
    }

    fn push_text(&mut self, text: &str) {
        if !text.is_empty() {
            self.pieces.push(Piece::Text(text.into()));
        }
    }

    fn push_variable(&mut self, name: &str) -> Result<(), LineFormatError> {
        // Names of the table come first, so `$http_...` never hides one of them.
        if let Some(variable) = variable(name) {
            self.pieces.push(Piece::Variable(variable));
            return Ok(());
        }
        let unknown = || LineFormatError::Unknown(name.to_owned());
        let [of_request, of_response] = OF_FIELDS.map(|prefix| name.strip_prefix(prefix));
        let field = of_request.or(of_response).filter(|field| !field.is_empty());
        // `$http_` alone would be a field without a name.
        let field = field.ok_or_else(unknown)?;
        // A variable has `_` where the name of a field has `-`.
        let field = HeaderName::from_str(&field.replace('_', "-")).map_err(|_| unknown())?;
        let (names, piece) = match of_request {
            Some(_) => (&mut self.request, Piece::RequestField(field.clone())),
            None => (&mut self.response, Piece::ResponseField(field.clone())),
        };
        if !names.contains(&field) {
            names.push(field);
        }
        self.pieces.push(piece);
        Ok(())
    }

    /// Copies the fields of a request that it shows.
    pub fn keep_request(&self, headers: &HeaderList, into: &mut LoggedFields) {
        keep(&self.request, headers, &mut into.request);
    }

    /// Copies the fields of a response that it shows.
    pub fn keep_response(&self, headers: &HeaderList, into: &mut LoggedFields) {
        keep(&self.response, headers, &mut into.response);
    }

    /// Appends the line of an entry.
    pub fn write(&self, entry: &AccessEntry, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::RequestField(name) => {
                    let fields = entry.fields.as_ref().map(|fields| &fields.request);
                    self.write_value(out, fields.and_then(|fields| field(fields, name)));
                }
                Piece::ResponseField(name) => {
                    let fields = entry.fields.as_ref().map(|fields| &fields.response);
                    self.write_value(out, fields.and_then(|fields| field(fields, name)));
                }
                Piece::Variable(variable) => self.write_variable(*variable, entry, out),
            }
        }
        out.push(b'\n');
    }

    fn write_value(&self, out: &mut Vec<u8>, value: Option<&[u8]>) {
        match (self.escape, value) {
            (Escape::Default, value) => escape(out, value.unwrap_or(b"-")),
            (Escape::Json, None) => {}
            (Escape::Json, Some(value)) => {
                // Bytes that are no UTF-8 would not be JSON.
                json::write_escaped(
                    out,
                    &String::from_utf8_lossy(&value[..value.len().min(FIELD)]),
                );
            }
        }
    }

    fn write_text(&self, out: &mut Vec<u8>, text: Option<&str>) {
        self.write_value(out, text.map(str::as_bytes));
    }

    fn write_variable(&self, variable: Variable, entry: &AccessEntry, out: &mut Vec<u8>) {
        let upstream = entry.upstream.as_ref();
        match variable {
            // Numbers and addresses have nothing to escape.
            Variable::Status => write_number(out, entry.status.as_u16().into()),
            Variable::BodyBytesSent => write_number(out, entry.bytes_out),
            Variable::Pid => write_number(out, std::process::id().into()),
            Variable::RemoteAddr => write_address(out, entry.client),
            Variable::Peer => write_address(out, entry.peer),
            Variable::RequestTime => write_seconds(out, entry.took),
            Variable::Msec => write_seconds(out, entry.since_epoch()),
            Variable::TimeLocal => {
                self.write_text(out, Some(&entry.local_end("%d/%b/%Y:%H:%M:%S %z")));
            }
            Variable::TimeIso8601 => {
                self.write_text(out, Some(&entry.local_end("%Y-%m-%dT%H:%M:%S%:z")));
            }
            Variable::UpstreamStatus => {
                let status = upstream.and_then(|story| story.status);
                self.write_text(out, status.as_ref().map(http::StatusCode::as_str));
            }
            Variable::UpstreamAddr => {
                self.write_text(out, upstream.and_then(|story| story.endpoint.as_deref()));
            }
            Variable::UpstreamConnectTime => {
                self.write_time(out, upstream.and_then(|story| story.connect));
            }
            Variable::UpstreamHeaderTime => {
                // nginx counts from before the connection is opened.
                let time = upstream.and_then(|story| {
                    Some(story.first_byte? + story.connect.unwrap_or(Duration::ZERO))
                });
                self.write_time(out, time);
            }
            Variable::LimitReqStatus => self.write_text(out, limit_req_status(entry)),
            Variable::LimitZone => {
                let story = entry.limit.as_ref().or(entry.dry_run.as_deref());
                self.write_text(out, story.map(|story| &*story.zone));
            }
            of_request => self.write_of_request(of_request, entry, out),
        }
    }

    /// Variables of what the client asked for.
    fn write_of_request(&self, variable: Variable, entry: &AccessEntry, out: &mut Vec<u8>) {
        let target = entry.path.as_ref().map(super::entry::Asked::as_str);
        // Of the bytes as received, as in nginx: only `$uri` has the normal form.
        let parts = target.map(|target| target.split_once('?').unwrap_or((target, "")));
        match variable {
            Variable::Request => {
                let line = target
                    .zip(entry.method.as_ref())
                    .map(|(target, method)| format!("{method} {target} {}", proto(entry.proto)));
                self.write_text(out, line.as_deref());
            }
            Variable::RequestMethod => {
                self.write_text(out, entry.method.as_ref().map(Method::as_str));
            }
            Variable::RequestUri => self.write_text(out, target),
            Variable::Uri | Variable::DocumentUri => {
                let path = parts.map(|(path, _)| normal_form::path(path).unwrap_or(path.into()));
                self.write_text(out, path.as_deref());
            }
            Variable::Args | Variable::QueryString => {
                let args = parts.map(|(_, args)| args).filter(|args| !args.is_empty());
                self.write_text(out, args);
            }
            // Never absent in nginx: `$uri$is_args$args` is a target again.
            Variable::IsArgs => {
                let has_args = parts.is_some_and(|(_, args)| !args.is_empty());
                out.extend_from_slice(if has_args { b"?" } else { b"" });
            }
            Variable::ServerProtocol => self.write_text(out, Some(proto(entry.proto))),
            Variable::Host => self.write_text(out, entry.host.as_deref()),
            Variable::Route => self.write_text(out, entry.route.as_deref()),
            Variable::RequestId => {
                let mut digits = Digits::default();
                self.write_value(out, Some(entry.id.text(&mut digits)));
            }
            // As in `combined`: the verified user, or the one that the client claims to be.
            Variable::RemoteUser => self.write_value(out, entry.claimed_user()),
            Variable::Scheme => {
                self.write_text(out, entry.fields.as_ref().and_then(|fields| fields.scheme));
            }
            // All others are written above.
            _ => {}
        }
    }

    fn write_time(&self, out: &mut Vec<u8>, time: Option<Duration>) {
        match time {
            Some(time) => write_seconds(out, time),
            None => self.write_value(out, None),
        }
    }
}

/// Splits a text behind a `$` into the name of a variable, as `name` or `{name}`, and the rest.
fn name_of(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = match text.strip_prefix('{') {
        Some(inside) => inside.split_once('}')?,
        None => {
            // As nginx ends a name: `$status;` has none but `status`.
            let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            text.split_at(text.find(|letter| !is_letter(letter)).unwrap_or(text.len()))
        }
    };
    (!name.is_empty()).then_some((name, rest))
}

/// Copies the values of these fields, the lines of one name joined as RFC 9110, section 5.3, has it.
fn keep(names: &[HeaderName], headers: &HeaderList, into: &mut Vec<(HeaderName, Box<[u8]>)>) {
    for name in names {
        let mut value: Option<Vec<u8>> = None;
        headers.each(name, &mut |line| match &mut value {
            None => value = Some(line.to_vec()),
            // The rest would be cut anyway.
            Some(value) if value.len() > FIELD => {}
            Some(value) => value.extend([b", ", line].concat()),
        });
        into.extend(value.map(|value| (name.clone(), value.into())));
    }
}

fn field<'a>(fields: &'a [(HeaderName, Box<[u8]>)], name: &HeaderName) -> Option<&'a [u8]> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
}

/// Writes a time as nginx does: seconds with milliseconds.
fn write_seconds(out: &mut Vec<u8>, time: Duration) {
    write_number(out, time.as_secs());
    let millis = time.subsec_millis();
    out.push(b'.');
    out.extend([millis / 100, millis / 10 % 10, millis % 10].map(|digit| b'0' + digit as u8));
}

/// Outcome of the limits in nginx's words.
fn limit_req_status(entry: &AccessEntry) -> Option<&'static str> {
    let decision = |story: &LimitStory| story.verdict.decision;
    Some(match (entry.limit.as_ref().map(decision), entry.dry_run.as_deref().map(decision)) {
        (Some(Decision::Reject), _) => "REJECTED",
        (Some(Decision::Delay), _) => "DELAYED",
        (_, Some(Decision::Reject)) => "REJECTED_DRY_RUN",
        (_, Some(Decision::Delay)) => "DELAYED_DRY_RUN",
        (Some(_), _) => "PASSED",
        (None, _) => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::log::line_format::*;

    #[test]
    fn format_is_parsed_once_and_names_its_fields() {
        let text = "$remote_addr ${http_x_a}b$sent_http_x_b $http_x_a$";
        assert_eq!(LineFormat::parse(text, Escape::Default), Err(LineFormatError::NoName));
        let format = LineFormat::parse(&text[..text.len() - 1], Escape::Default).expect("a format");
        assert_eq!(format.request, ["x-a"]);
        assert_eq!(format.response, ["x-b"]);
        assert_eq!(format.pieces.len(), 7);
    }

    #[test]
    fn format_that_cannot_be_one_is_an_error() {
        let of = |text: &str| LineFormat::parse(text, Escape::Default).map(|_| ());
        let unknown = |name: &str| Err(LineFormatError::Unknown(name.to_owned()));
        assert_eq!(of("$remote_adr"), unknown("remote_adr"));
        assert_eq!(of("$http_"), unknown("http_"));
        assert_eq!(of("$cookie_a"), unknown("cookie_a"));
        assert_eq!(of("xml"), Err(LineFormatError::NoVariable("xml".to_owned())));
        assert_eq!(of(""), Err(LineFormatError::NoVariable(String::new())));
        assert_eq!(of("$status\n"), Err(LineFormatError::Control));
        assert_eq!(of("$ {status}"), Err(LineFormatError::NoName));
        assert_eq!(of("${status"), Err(LineFormatError::NoName));
        assert_eq!(of("\t$status"), Ok(()));
        assert_eq!(of(&"$status".repeat(700)), Err(LineFormatError::TooLong));
    }

    #[test]
    fn every_name_is_a_variable_and_they_are_sorted() {
        assert!(NAMES.iter().all(|name| variable(name).is_some()));
        assert!(NAMES.is_sorted());
    }

    #[test]
    fn seconds_have_three_decimals() {
        let of = |time: Duration| {
            let mut out = Vec::new();
            write_seconds(&mut out, time);
            String::from_utf8(out).expect("ASCII")
        };
        assert_eq!(of(Duration::from_micros(1_999)), "0.001");
        assert_eq!(of(Duration::from_millis(61_020)), "61.020");
    }
}
