package fault

import (
	"context"
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestCodesAreAllThatIsTakenOfAnAnswer(t *testing.T) {
	for answer, want := range map[string]string{
		"WRONGTYPE Operation against a key":                                                                         "WRONGTYPE: " + advice["WRONGTYPE"],
		"ERR value is not an integer: secret":                                                                       "ERR",
		"MOVED 3999 127.0.0.1:6381":                                                                                 "MOVED: " + advice["MOVED"],
		"ERR max number of clients reached":                                                                         "ERR: the server takes no more connections; lower PoolSize, or raise the server's limit",
		"ERR Protocol error: invalid bulk length":                                                                   "ERR: " + tooLarge,
		"ERR max request size exceeded. Limit: 1048576 bytes":                                                       "ERR: " + tooLarge,
		"ERR max requests limit exceeded. Limit: 500000, Usage: 500000":                                             "ERR: the server's or the plan's limit is reached",
		"ERR DB index is out of range":                                                                              "ERR: " + onlyZero,
		"ERR SELECT is not allowed in cluster mode":                                                                 "ERR: " + onlyZero,
		"ERR unknown subcommand 'tracking'. Try CLIENT HELP.":                                                       "ERR: " + lacking,
		"ERR Command is not available: 'SCRIPT'":                                                                    "ERR: " + lacking,
		"NOPERM this user has no permissions to run the 'client|tracking' command":                                  "NOPERM: the user may not run client|tracking; grant +client|tracking",
		"NOPERM this user has no permissions to run the 'hello' command or its subcommand":                          "NOPERM: the user may not run hello; grant +hello",
		"NOPERM User key has no permissions to run the 'get' command":                                               "NOPERM: the user may not run get; grant +get",
		"NOPERM this user has no permissions to run the 'secret:1' command":                                         "NOPERM: " + advice["NOPERM"],
		"NOPERM this user has no permissions to access one of the keys used as arguments":                           "NOPERM: the user may not use the key; grant the prefix, as ~app:* does for app:",
		"NOPERM this user has no permissions to access one of the channels used as arguments":                       "NOPERM: " + advice["NOPERM"],
		"EXECABORT Transaction discarded because of: NOPERM this user has no permissions to run the 'exec' command": "EXECABORT: the user may not run exec; grant +exec",
		"EXECABORT Transaction discarded because of previous errors.":                                               "EXECABORT",
		"BUSY Redis is busy": "BUSY",
		"secret":             "refused by the server",
		"":                   "refused by the server",
		"SECRET1 x":          "refused by the server",
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ is no code that Redis or Valkey has": "refused by the server",
	} {
		if got := Code(answer); got != want {
			t.Errorf("%q: %s, want %s", answer, got, want)
		}
	}
}

// The replies are those of Redis 6.0.16, 7.0.15 and 8.0.2 and of Valkey 8.0.1, their digests shortened.
func TestErrorsWithinScripts(t *testing.T) {
	const six = "ERR Error running script (call to f_536f): @user_script:1: "
	for reply, want := range map[string]string{
		six + "@user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.":                                      "OOM command not allowed when used memory > 'maxmemory'.",
		six + "@user_script: 1: -READONLY You can't write against a read only replica.":                                        "READONLY You can't write against a read only replica.",
		six + "@user_script: 1: -MISCONF Redis is configured to save: it can't":                                                "MISCONF Redis is configured to save: it can't",
		six + "WRONGTYPE Operation against a key holding the wrong kind of value":                                              "WRONGTYPE Operation against a key holding the wrong kind of value",
		six + "@user_script: 1: The user executing the script can't run this command or subcommand":                            "NOPERM ",
		"ERR The user executing the script can't run this command or subcommand script: 536f, on @user_script:1.":              "NOPERM ",
		"ERR ACL failure in script: User default has no permissions to run the 'set' command script: 536f, on @user_script:1.": "NOPERM ",
		six + "@user_script: 1: Unknown Redis command called from Lua script":                                                  "",
		"ERR user_script:1: Script attempted to access nonexistent global variable 'x' script: 536f, on @user_script:1.":       "",
		"OOM command not allowed when used memory > 'maxmemory'. script: 536f, on @user_script:1.":                             "",
		"ERR @user_script": "",
		"NOSCRIPT No matching script. Please use EVAL.": "",
	} {
		err := error(refusal(reply))
		var theirs redis.Error
		if want == "NOPERM " {
			want += reply
		}
		switch got := Inner(err); {
		case want == "" && got != err, want != "" && got.Error() != want, !errors.As(got, &theirs):
			t.Errorf("%q: %v, want %q", reply, got, want)
		}
	}
	for _, err := range []error{nil, redis.Nil, context.Canceled} {
		if got := Inner(err); got != err {
			t.Errorf("%v has become %v", err, got)
		}
	}
}
