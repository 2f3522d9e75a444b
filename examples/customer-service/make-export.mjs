// Makes the export that this example cleans: real dialogues with the faults of real exports. The files are the same
// every time.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const read = (name) =>
  readFileSync(here(`../data/${name}`), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

// A small generator (mulberry32), so that the export is the same on every machine.
let state = 7;
const random = () => {
  state = (state + 0x6d2b79f5) | 0;
  let value = Math.imul(state ^ (state >>> 15), 1 | state);
  value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
  return ((value ^ (value >>> 14)) >>> 0) / 4294967296;
};
const now = (chance) => random() < chance;
const phone = () => `138${String(Math.floor(random() * 1e8)).padStart(8, '0')}`;
const wide = (text) => text.replace(/[A-Za-z0-9]/g, (mark) => String.fromCharCode(mark.charCodeAt(0) + 0xfee0));

/** English: JSON Lines with its own key names, and some truncated and garbled rows. */
function english(rows) {
  return rows
    .flatMap(({ conversation, topic }, index) => {
      let turns = conversation.map(({ role, content }) => ({
        who: role === 'user' ? 'customer' : 'agent',
        says: content,
      }));
      if (now(0.05)) turns[0].says += ' You can reach me at jane.doe@example.com or +44 20 7946 0958.';
      if (now(0.05)) turns = turns.map(({ who, says }) => ({ who, says: `  ${says.replace(/[.!?]$/, '$&$&$&$&')}` }));
      if (now(0.03)) turns.at(-1).says = '';
      if (now(0.03)) turns.at(-1).says = 'As an AI language model, I cannot answer this.';
      const line = JSON.stringify({ dialog: turns, topic, ticket: index + 1 });
      if (now(0.01)) return [line.slice(0, line.length / 2)];
      return now(0.1) ? [line, line] : [line];
    })
    .join('\n');
}

/** Chinese: a table with Chinese headings, a byte-order mark and Windows line ends, and stray quotes in some rows. */
function chinese(rows) {
  const cell = (text) => `"${text.replaceAll('"', '""')}"`;
  const lines = rows
    .filter(({ conversation }) => conversation.length === 2)
    .flatMap(({ conversation: [question, answer], topic }) => {
      let asked = question.content;
      if (now(0.08)) asked += `，我的电话是${phone()}`;
      if (now(0.05)) asked = `${wide('ABC123')}号订单：${asked}`;
      if (now(0.05)) asked += '!!!!';
      const line = [cell(asked), cell(answer.content), cell(topic)].join(',');
      if (now(0.02)) return [`${asked}"坏,${answer.content}`];
      return now(0.1) ? [line, line] : [line];
    });
  return `\ufeff问题,回答,主题\r\n${lines.join('\r\n')}\r\n`;
}

mkdirSync(here('./export'), { recursive: true });
writeFileSync(here('./export/tickets.en.jsonl'), `${english(read('chatterbot-en.train.jsonl').slice(0, 600))}\n`);
writeFileSync(here('./export/tickets.zh.csv'), chinese(read('chatterbot-zh.train.jsonl')));
