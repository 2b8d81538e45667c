package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/mailtwin/mailtwin/replicator/atomicfile"
	"github.com/mailtwin/mailtwin/replicator/hint"
)

// maxFile is the largest file, in bytes, that is read as settings.
const maxFile = 1 << 20

// Errors of the settings, told apart with errors.Is. Each comes with a hint.
var (
	ErrSyntax     = errors.New("not valid TOML")
	ErrUnknownKey = errors.New("unknown key")
	ErrInvalid    = errors.New("not a valid setting")
	ErrExists     = errors.New("there are settings already")
)

// Load reads the settings from the file path, gives what it leaves out its
// default, and validates the result. A missing file is fs.ErrNotExist.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, hint.Add(fmt.Errorf("there are no settings: %w", err),
			"make a node here with `mailtwin init` or `mailtwin join`, or name its file with --config")
	}
	if err != nil {
		return Config{}, fmt.Errorf("reading the settings: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("reading the settings: %w", err)
	}
	c, err := Decode(path, data)
	if err != nil {
		return Config{}, err
	}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Decode reads settings from the contents of a file; path is only for errors.
// What is left out has its default; nothing is validated beyond what a value
// has to look like. The error is ErrSyntax, ErrUnknownKey or ErrInvalid.
func Decode(path string, data []byte) (Config, error) {
	if len(data) > maxFile {
		return Config{}, fmt.Errorf("%s: %w: it is larger than %v", path, ErrSyntax, Size(maxFile))
	}
	if err := checkStrings(path, data); err != nil {
		return Config{}, err
	}
	c := Default()
	err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&c)
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		return Config{}, unknownKey(path, &strict.Errors[0])
	}
	if wrong, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, _ := wrong.Position()
		return Config{}, hint.Add(
			fmt.Errorf("%s: %w: %s: %s", at(path, line), ErrInvalid, strings.Join(wrong.Key(), "."), words(wrong)),
			"correct line %d of %s", line, path)
	}
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w: %w", path, ErrSyntax, err)
	}
	return c, nil
}

// checkStrings refuses what is not TOML at all, and settings that are not
// strings: a bare number would otherwise pass for a size in bytes.
func checkStrings(path string, data []byte) error {
	var all map[string]any
	err := toml.Unmarshal(data, &all)
	if wrong, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, _ := wrong.Position()
		return hint.Add(fmt.Errorf("%s: %w: %s", at(path, line), ErrSyntax, words(wrong)),
			"correct line %d of %s", line, path)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %w", path, ErrSyntax, err)
	}
	for _, s := range settings() {
		in := all
		if v, there := all[s.table]; s.table != "" && there {
			table, ok := v.(map[string]any)
			if !ok {
				return hint.Add(fmt.Errorf("%s: %w: %s is not a table", path, ErrInvalid, s.table),
					"write [%s] on a line by itself and its settings beneath", s.table)
			}
			in = table
		} else if s.table != "" {
			continue
		}
		if v, there := in[s.key]; there {
			if err := s.checkKind(path, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkKind refuses a value that is no string, or no whole number where one is
// meant.
func (s setting) checkKind(path string, v any) error {
	_, isString := v.(string)
	_, isNumber := v.(int64)
	kind := "a string in quotes"
	switch {
	case s.number && isNumber, !s.number && isString:
		return nil
	case s.number:
		kind = "a whole number"
	}
	return hint.Add(fmt.Errorf("%s: %w: %s is %v, not %s", path, ErrInvalid, s.name(), v, kind),
		"write it like %s = %s", s.key, s.written(s.sample()))
}

// words is what the decoder says, without its name before it.
func words(e *toml.DecodeError) string { return strings.TrimPrefix(e.Error(), "toml: ") }

func unknownKey(path string, e *toml.DecodeError) error {
	line, _ := e.Position()
	key := e.Key()
	err := fmt.Errorf("%s: %w %q", at(path, line), ErrUnknownKey, strings.Join(key, "."))
	table := strings.Join(key[:len(key)-1], ".")
	keys, ok := known(table)
	switch {
	case !ok:
		return hint.Add(err, "there are the tables %s; correct the name or take the table out", tables())
	case table == "":
		return hint.Add(err, "correct it or take it out; outside of the tables there is %s, and the tables are %s", keys, tables())
	}
	return hint.Add(err, "correct it or take it out; the keys of [%s] are %s", table, keys)
}

// Write makes the file path, mode 0600, with the settings c and comments, after
// validating them. It is durable when Write returns nil. A file that is there
// already is never replaced: the error is ErrExists.
func Write(path string, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	err := atomicfile.Create(path, Format(c), 0o600)
	if errors.Is(err, fs.ErrExist) {
		return hint.Add(fmt.Errorf("%w: %q", ErrExists, path),
			"name another file with --config, or move this one away if its node is no longer wanted")
	}
	if err != nil {
		return fmt.Errorf("writing the settings: %w", err)
	}
	return nil
}
