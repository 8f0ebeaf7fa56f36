//! The command and its configuration: wrong files and their messages, the pages, the demo,
//! the importer.

mod demo;
mod docs;
mod files;
mod import;
mod ingress;
