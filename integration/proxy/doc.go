// Package proxy is a bad network between two programs: a TCP proxy on
// 127.0.0.1 that counts what passes and can cut, stall, throttle and corrupt
// it.
package proxy
