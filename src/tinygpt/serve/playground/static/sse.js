// Server-sent events as /v1/completions writes them. Pure.

// Feed it the text of the stream as it comes, in pieces of any length; it returns the JSON of
// every event that is complete, and remembers the rest. `[DONE]` gives null.
export function reader() {
  let rest = "";
  return (text) => {
    rest += text;
    const blocks = rest.split(/\r?\n\r?\n/);
    rest = blocks.pop();
    return blocks.flatMap((block) => {
      const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
      if (!data.length) return []; // a comment that keeps the line open
      return [data[0] === "[DONE]" ? null : JSON.parse(data.join("\n"))];
    });
  };
}
