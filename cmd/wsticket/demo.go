package main

import "errors"

func demo(*env, *flags) error { return errors.New("demo: not built yet") }
