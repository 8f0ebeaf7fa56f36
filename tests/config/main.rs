//! The command and its configuration: wrong files and their messages, the pages, the demo.

mod demo;
mod docs;
mod files;
