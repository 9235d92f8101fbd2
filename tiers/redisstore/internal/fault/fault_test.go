package fault

import "testing"

func TestCodesAreAllThatIsTakenOfAnAnswer(t *testing.T) {
	for answer, want := range map[string]string{
		"WRONGTYPE Operation against a key":                                                "WRONGTYPE: " + advice["WRONGTYPE"],
		"ERR Error running script (call to f_1): WRONGTYPE Operation":                      "WRONGTYPE: " + advice["WRONGTYPE"],
		"ERR value is not an integer: secret":                                              "ERR",
		"MOVED 3999 127.0.0.1:6381":                                                        "MOVED: " + advice["MOVED"],
		"ERR max number of clients reached":                                                "ERR: the server takes no more connections; lower PoolSize, or raise the server's limit",
		"ERR max requests limit exceeded. Limit: 500000, Usage: 500000":                    "ERR: the server's or the plan's limit is reached",
		"ERR DB index is out of range":                                                     "ERR: " + onlyZero,
		"ERR SELECT is not allowed in cluster mode":                                        "ERR: " + onlyZero,
		"ERR unknown subcommand 'tracking'. Try CLIENT HELP.":                              "ERR: " + lacking,
		"ERR Command is not available: 'SCRIPT'":                                           "ERR: " + lacking,
		"ERR The user executing the script can't run this command or subcommand script: f": "NOPERM: " + advice["NOPERM"],
		"BUSY Redis is busy":                                                               "BUSY",
		"secret":                                                                           "refused by the server",
		"":                                                                                 "refused by the server",
		"SECRET1 x":                                                                        "refused by the server",
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ is no code that Redis or Valkey has":                   "refused by the server",
	} {
		if got := Code(answer); got != want {
			t.Errorf("%q: %s, want %s", answer, got, want)
		}
	}
}
