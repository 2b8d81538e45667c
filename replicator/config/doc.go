// Package config holds the settings of a node: the file mailtwin.toml, its
// defaults, and what they are checked for.
//
// The file is decoded strictly. A key that is not known, a value that cannot
// be meant, a size without a unit: each is an error that names the line or the
// key and says what to write instead. What a node is at the moment (its role,
// its epoch) is not a setting and not in this file.
package config
