//! Answers in XML, good and bad.

use std::fmt::Write;

use axum::body::Body;
use axum::http::{Response, StatusCode, header};

/// Of every document of the API.
pub(super) const NAMESPACE: &str = "https://route53.amazonaws.com/doc/2013-04-01/";

/// Why a request was not done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The service's word for it.
    pub code: &'static str,
    /// A sentence.
    pub message: String,
    pub(super) status: u16,
}

impl Refusal {
    pub(super) fn sender(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            status,
        }
    }

    pub(super) fn batch(problems: &[String]) -> Self {
        Self::sender(
            400,
            "InvalidChangeBatch",
            format!("[{}]", problems.join(", ")),
        )
    }

    pub(super) fn answer(&self, request: &str) -> Response<Body> {
        let mut xml = Xml::new("ErrorResponse");
        xml.open("Error")
            .leaf(
                "Type",
                if self.status < 500 {
                    "Sender"
                } else {
                    "Receiver"
                },
            )
            .leaf("Code", self.code)
            .leaf("Message", &self.message)
            .close("Error")
            .leaf("RequestId", request);
        xml.answer(self.status, request)
    }
}

/// A document that grows.
#[derive(Debug)]
pub(super) struct Xml {
    root: &'static str,
    text: String,
}

impl Xml {
    pub(super) fn new(root: &'static str) -> Self {
        Self {
            root,
            text: format!("<?xml version=\"1.0\"?>\n<{root} xmlns=\"{NAMESPACE}\">"),
        }
    }

    pub(super) fn open(&mut self, name: &str) -> &mut Self {
        let _ = write!(self.text, "<{name}>");
        self
    }

    pub(super) fn close(&mut self, name: &str) -> &mut Self {
        let _ = write!(self.text, "</{name}>");
        self
    }

    pub(super) fn leaf(&mut self, name: &str, value: impl ToString) -> &mut Self {
        let value = value
            .to_string()
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        let _ = write!(self.text, "<{name}>{value}</{name}>");
        self
    }

    pub(super) fn answer(mut self, status: u16, request: &str) -> Response<Body> {
        let root = self.root;
        self.close(root);
        Response::builder()
            .status(StatusCode::from_u16(status).unwrap())
            .header(header::CONTENT_TYPE, "text/xml")
            .header("x-amzn-requestid", request)
            .body(Body::from(self.text))
            .unwrap()
    }
}
