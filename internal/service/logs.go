package service

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/service/config"
)

// Logs is the log of a service, whose file can be opened anew and whose level
// can change while it runs.
type Logs struct {
	*slog.Logger
	level slog.LevelVar
	out   logFile
}

// OpenLogs opens the log that the configuration asks for; fallback is written
// to when it names no file. The caller closes it.
func OpenLogs(c config.Config, fallback io.Writer) (*Logs, error) {
	l := &Logs{out: logFile{path: c.LogFile, fallback: fallback}}
	if err := l.out.reopen(); err != nil {
		return nil, err
	}
	l.SetLevel(c.LogLevel)
	opts := &slog.HandlerOptions{Level: &l.level}
	if c.LogFormat == "json" {
		l.Logger = slog.New(slog.NewJSONHandler(&l.out, opts))
	} else {
		l.Logger = slog.New(slog.NewTextHandler(&l.out, opts))
	}
	return l, nil
}

// SetLevel changes what is logged: debug, info, warn or error; other names mean
// info.
func (l *Logs) SetLevel(name string) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(strings.ToUpper(name))); err != nil {
		level = slog.LevelInfo
	}
	l.level.Set(level)
}

// Reopen opens the file anew, for one that was renamed. After an error it goes
// on with the old one.
func (l *Logs) Reopen() error { return l.out.reopen() }

// Close closes the file.
func (l *Logs) Close() error { return l.out.close() }

// logFile is a file that is appended to, whatever it is renamed to meanwhile.
type logFile struct {
	path     string
	fallback io.Writer
	mu       sync.Mutex
	file     *os.File
}

func (f *logFile) reopen() error {
	if f.path == "" {
		return nil
	}
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.file
	f.file = file
	if old != nil {
		return old.Close()
	}
	return nil
}

// Write implements [io.Writer].
func (f *logFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return f.fallback.Write(p)
	}
	return f.file.Write(p)
}

func (f *logFile) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
