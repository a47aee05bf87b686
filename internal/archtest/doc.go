// Package archtest holds tests of the module's own shape: which package may
// import which, that every package says what it is for, and that files stay
// short enough to be one idea. It exports nothing.
package archtest
