// Reads a JSON list of diagrams from standard input; writes what the real Mermaid understood of each.
import { readFileSync } from "node:fs";
import { JSDOM } from "jsdom";

// Mermaid cleans labels with the help of a document.
globalThis.window = new JSDOM("").window;
globalThis.document = window.document;
const { default: mermaid } = await import("mermaid");

// Mermaid writes `#58;` in its own way until it draws.
const decoded = (text) =>
  text.replace(/ﬂ°°(\d+)¶ß/g, (_, code) => String.fromCodePoint(Number(code)));

const read = async (text) => {
  try {
    await mermaid.parse(text);
    const { db } = await mermaid.mermaidAPI.getDiagramFromText(text);
    if (db.getMessages) {
      return { messages: db.getMessages().map(({ message }) => decoded(message)) };
    }
    return {
      states: [...db.getStates().values()].map(({ id, descriptions }) => [
        id,
        decoded(descriptions.join("\n")),
      ]),
      edges: db
        .getRelations()
        .map(({ id1, id2, relationTitle }) => [id1, id2, decoded(relationTitle ?? "")]),
    };
  } catch (error) {
    return { error: error.message };
  }
};

const answers = [];
for (const text of JSON.parse(readFileSync(0, "utf8"))) answers.push(await read(text));
console.log(JSON.stringify(answers));
