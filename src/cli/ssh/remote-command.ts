/** What is run on a node, and that it ends with us. */

/**
 * The session's stdin ends when our ssh is gone, for whatever reason; without a terminal nothing else would tell the
 * command. All that it started is then in the one process group that sshd made for it (setsid in do_exec_no_pty).
 */
const wrapper = [
  'exec 3<&0 </dev/null',
  '(exec >/dev/null 2>&1; while read -r _ <&3; do :; done; kill -TERM 0) &',
  'watch=$!',
  'sh -c "$1" 3<&-',
  'code=$?',
  'kill $watch 2>/dev/null',
  'exit $code',
].join('\n');

/** One word is a line for the shell of the node; several are a program and its arguments, exactly as they are. */
export function commandLine(words: readonly string[]): string {
  const [first = '', ...rest] = words;
  return rest.length === 0 ? first : words.map(quote).join(' ');
}

/** Whatever the user's login shell is, sh runs it. */
export function remoteCommand(words: readonly string[]): string {
  return `exec sh -c ${quote(wrapper)} sh ${quote(commandLine(words))}`;
}

/** For a POSIX shell. */
export function quote(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
