//! Ingress objects and the ports of Services, as the files have them.

use std::collections::HashMap;

use super::documents::{Document, IngressFiles};
use crate::config::yaml_tree::{Node, Value};

/// Beginning of the annotations of ingress-nginx.
pub const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// Objects of the files that count.
#[derive(Debug, Default)]
pub struct Objects {
    /// Ingresses in order.
    pub ingresses: Vec<Ingress>,
    /// Numbers of named ports, by Service and name.
    ports: HashMap<(String, String), u16>,
}

/// Ingress.
#[derive(Clone, Debug, Default)]
pub struct Ingress {
    /// Name, with its namespace before it if it has one.
    pub name: String,
    /// Namespace; empty for the default one.
    pub namespace: String,
    /// Place.
    pub place: usize,
    /// Annotations of ingress-nginx without their prefix.
    pub annotations: Vec<Annotation>,
    /// Hosts and names of secrets.
    pub tls: Vec<IngressTls>,
    /// Paths of all rules; that of the default one is last.
    pub paths: Vec<IngressPath>,
}

/// Annotation.
#[derive(Clone, Debug)]
pub struct Annotation {
    /// Name without its prefix.
    pub name: String,
    /// Value.
    pub value: String,
    /// Place.
    pub place: usize,
}

/// Certificate of an Ingress.
#[derive(Clone, Debug)]
pub struct IngressTls {
    /// Hosts.
    pub hosts: Vec<String>,
    /// Name of the secret; empty for that of the controller.
    pub secret: String,
    /// Place.
    pub place: usize,
}

/// Path of a rule.
#[derive(Clone, Debug)]
pub struct IngressPath {
    /// Host; none for every host.
    pub host: Option<String>,
    /// Path.
    pub path: String,
    /// `Prefix`, `Exact` or `ImplementationSpecific`.
    pub kind: String,
    /// Service and its port.
    pub service: Option<ServicePort>,
    /// Place.
    pub place: usize,
}

/// Service of a path.
#[derive(Clone, Debug)]
pub struct ServicePort {
    /// Name of the Service.
    pub name: String,
    /// Number or name of the port.
    pub port: String,
}

impl Ingress {
    /// Value of an annotation.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&Annotation> {
        self.annotations.iter().find(|annotation| annotation.name == name)
    }

    /// Value of the first of these names.
    #[must_use]
    pub fn first(&self, names: &[&str]) -> Option<&Annotation> {
        names.iter().find_map(|name| self.annotation(name))
    }

    /// Returns true if an annotation is `true`.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.annotation(name).is_some_and(|annotation| annotation.value == "true")
    }
}

impl Objects {
    /// Finds them, also within a `List`.
    #[must_use]
    pub fn of(files: &IngressFiles) -> Self {
        let mut objects = Self::default();
        for document in &files.documents {
            objects.add(document, &document.tree, 0);
        }
        objects
    }

    /// Number of a port of a Service.
    #[must_use]
    pub fn port(&self, namespace: &str, service: &ServicePort) -> Option<u16> {
        // Named ports are in the Service, which may be in no file.
        let number = service.port.parse().ok().filter(|port| *port > 0);
        let key = (full_name(namespace, &service.name), service.port.clone());
        number.or_else(|| self.ports.get(&key).copied())
    }

    fn add(&mut self, document: &Document, tree: &Node, depth: usize) {
        match text(tree, "kind") {
            "Ingress" => self.ingresses.push(ingress(document, tree)),
            "Service" => self.service(tree),
            // A list of lists is none that kubectl writes.
            "List" | "IngressList" if depth == 0 => {
                items(tree, "items").iter().for_each(|item| self.add(document, item, 1));
            }
            _ => {}
        }
    }

    fn service(&mut self, tree: &Node) {
        let name = name_of(tree);
        let ports = tree.get("spec").map(|spec| items(&spec.node, "ports")).unwrap_or_default();
        for port in ports {
            // The port of the Service, not the one of its containers.
            if let Ok(number) = text(port, "port").parse() {
                self.ports.insert((name.clone(), text(port, "name").to_owned()), number);
            }
        }
    }
}

fn ingress(document: &Document, tree: &Node) -> Ingress {
    let metadata = tree.get("metadata").map(|entry| &entry.node);
    // Those of other programs say nothing about requests.
    let annotations = metadata.and_then(|metadata| metadata.get("annotations"));
    let annotations = annotations.map_or(&[][..], |entry| entry.node.entries());
    let annotations = annotations.iter().filter_map(|entry| {
        Some(Annotation {
            name: entry.key.strip_prefix(PREFIX)?.to_owned(),
            value: entry.node.scalar()?.text.trim().to_owned(),
            place: document.place(entry.key_span.start),
        })
    });
    let mut found = Ingress {
        name: name_of(tree),
        namespace: metadata.map_or("", |metadata| text(metadata, "namespace")).to_owned(),
        place: document.place(tree.span.start),
        annotations: annotations.collect(),
        ..Ingress::default()
    };
    let Some(spec) = tree.get("spec").map(|entry| &entry.node) else { return found };
    for tls in items(spec, "tls") {
        let hosts = items(tls, "hosts").iter().filter_map(|host| Some(host.scalar()?.text.clone()));
        found.tls.push(IngressTls {
            hosts: hosts.collect(),
            secret: text(tls, "secretName").to_owned(),
            place: document.place(tls.span.start),
        });
    }
    for rule in items(spec, "rules") {
        let host = Some(text(rule, "host").to_ascii_lowercase()).filter(|host| !host.is_empty());
        let http = rule.get("http").map(|http| items(&http.node, "paths")).unwrap_or_default();
        found.paths.extend(http.iter().map(|path| IngressPath {
            host: host.clone(),
            path:
                Some(text(path, "path")).filter(|path| !path.is_empty()).unwrap_or("/").to_owned(),
            kind: text(path, "pathType").to_owned(),
            service: path.get("backend").and_then(|entry| service_port(&entry.node)),
            place: document.place(path.span.start),
        }));
    }
    // It takes what no rule of any host takes.
    if let Some(default) = spec.get("defaultBackend") {
        found.paths.push(IngressPath {
            host: None,
            path: "/".to_owned(),
            kind: "Prefix".to_owned(),
            service: service_port(&default.node),
            place: document.place(default.key_span.start),
        });
    }
    found
}

/// ServicePort of `networking.k8s.io/v1`, or of the versions before it.
fn service_port(tree: &Node) -> Option<ServicePort> {
    if let Some(service) = tree.get("service") {
        let port = service.node.get("port").map(|port| &port.node);
        let number = port.map_or("", |port| text(port, "number"));
        let name = port.map_or("", |port| text(port, "name"));
        return Some(ServicePort {
            name: text(&service.node, "name").to_owned(),
            port: if number.is_empty() { name } else { number }.to_owned(),
        });
    }
    let service = text(tree, "serviceName");
    (!service.is_empty()).then(|| ServicePort {
        name: service.to_owned(),
        port: text(tree, "servicePort").to_owned(),
    })
}

fn name_of(tree: &Node) -> String {
    let metadata = tree.get("metadata").map(|entry| &entry.node);
    let part = |key| metadata.map_or("", |metadata| text(metadata, key));
    full_name(part("namespace"), part("name"))
}

/// Name with its namespace, as in the domain of a Service.
#[must_use]
pub fn full_name(namespace: &str, name: &str) -> String {
    match namespace {
        "" | "default" => name.to_owned(),
        namespace => format!("{name}.{namespace}"),
    }
}

fn text<'n>(tree: &'n Node, key: &str) -> &'n str {
    let scalar = tree.get(key).and_then(|entry| entry.node.scalar());
    scalar.filter(|scalar| !scalar.is_null()).map_or("", |scalar| scalar.text.as_str())
}

fn items<'n>(tree: &'n Node, key: &str) -> &'n [Node] {
    match tree.get(key).map(|entry| &entry.node.value) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}
