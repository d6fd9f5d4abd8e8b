package runtimeapi

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// environment returns the environment of the process: the few variables of this machine
// without which a program may not start, the function's own, and those that Lambda
// reserves, which win. The AWS profile and the proxies of the parent are left out.
// AWS_EXECUTION_ENV is not set, as in the provided runtimes.
func (r *Runtime) environment(address string) []string {
	env := append(inherited(), "TZ=:UTC", "LANG=en_US.UTF-8",
		// The developer's own profile must not change what a function does.
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
	env = append(env, r.cfg.Env...)
	env = append(env,
		"AWS_LAMBDA_RUNTIME_API="+address,
		"AWS_LAMBDA_FUNCTION_NAME="+r.cfg.FunctionName,
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		fmt.Sprintf("AWS_LAMBDA_FUNCTION_MEMORY_SIZE=%d", r.cfg.MemoryMB),
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/"+r.cfg.FunctionName,
		"AWS_LAMBDA_LOG_STREAM_NAME="+time.Now().UTC().Format("2006/01/02")+
			"/[$LATEST]"+strings.ReplaceAll(newUUID(), "-", ""),
		"AWS_REGION="+r.cfg.Region,
		"AWS_DEFAULT_REGION="+r.cfg.Region,
		"LAMBDA_TASK_ROOT="+filepath.Dir(r.cfg.Binary),
		"_HANDLER=bootstrap",
	)
	if r.cfg.MaxConcurrency > 1 {
		env = append(env, fmt.Sprintf("AWS_LAMBDA_MAX_CONCURRENCY=%d", r.cfg.MaxConcurrency))
	}
	return env
}

func inherited() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "SystemRoot", "TEMP", "TMP", "USERPROFILE"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
