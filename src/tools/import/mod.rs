//! Importer of nginx configurations: reads the files of an nginx and writes the weir.yaml for them.
//!
//! [`lexer`] and [`tree`] read one file, [`files`] what it includes.

pub mod error;
pub mod files;
pub mod lexer;
pub mod tree;
