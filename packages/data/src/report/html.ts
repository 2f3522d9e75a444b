import type { Origin } from '@whetstone/core/contract';
import type { Inspection } from '../proof/inspect.js';
import { supervisionWarnings } from '../proof/check.js';
import type { DataReport } from './data-report.js';
import type { GateResult } from './gate.js';
import type { Histogram } from './histogram.js';
import type { SampleScore } from './score.js';
import { pageStyle } from './style.js';

const escape = (text: string): string => text.replace(/[&<>"']/g, (mark) => `&#${mark.charCodeAt(0)};`);
const number = (value: number): string =>
  Number.isInteger(value) ? value.toLocaleString('en-US') : value.toLocaleString('en-US', { maximumFractionDigits: 2 });
const percent = (share: number): string => `${(share * 100).toLocaleString('en-US', { maximumFractionDigits: 1 })} %`;

/** The end of a path: the whole one is in the tooltip. */
function place({ file, line, index }: Origin): string {
  const short =
    file === undefined ? `conversation ${index + 1}` : `${file.split(/[/\\]/).at(-1) ?? file}:${line ?? index + 1}`;
  return `<code title="${escape(file ?? '')}">${escape(short)}</code>`;
}

/** One figure with what it counts. */
const tile = (value: string, label: string, tone = ''): string =>
  `<div class="tile ${tone}"><b>${value}</b><span>${escape(label)}</span></div>`;

const tileRow = (tiles: readonly string[]): string => `<div class="tiles">${tiles.join('')}</div>`;

/**
 * A histogram as an SVG of bars, each with its bounds and count as a tooltip; `mark` draws a line at a value. Bars
 * stretch with the page; words beside them do not.
 */
function histogram(
  { bounds, counts, mean, median, p95, largest }: Histogram,
  label: string,
  mark?: { readonly value: number; readonly label: string },
): string {
  const [width, height] = [640, 150];
  const top = Math.max(1, ...counts);
  const bar = width / Math.max(1, counts.length);
  const bars = counts.map((count, index) => {
    const size = count === 0 ? 0 : Math.max(1.5, (count / top) * height);
    const range = `${number(bounds[index] ?? 0)}–${number(bounds[index + 1] ?? 0)}: ${number(count)}`;
    return (
      `<rect x="${(index * bar + bar * 0.04).toFixed(1)}" y="${(height - size).toFixed(1)}" ` +
      `width="${(bar * 0.92).toFixed(1)}" height="${size.toFixed(1)}"><title>${range}</title></rect>`
    );
  });
  const step = (bounds[1] ?? 1) - (bounds[0] ?? 0);
  const at = mark === undefined ? -1 : ((mark.value - (bounds[0] ?? 0)) / step) * bar;
  const share = (100 * at) / width;
  const line =
    mark !== undefined && at >= 0 && at <= width
      ? '<i class="mark" ' +
        `style="left:${share.toFixed(2)}%"><span${share > 60 ? ' class="left"' : ''}>${escape(mark.label)}</span></i>`
      : '';
  const last = counts.length - 1;
  const open = largest >= (bounds[last] ?? 0) + step ? '+' : '';
  const ticks = [...new Set([0, Math.floor(counts.length / 2), last])];
  const axis = ticks.map((tick) => {
    const left = ((100 * tick) / Math.max(1, counts.length)).toFixed(2);
    return `<span style="left:${left}%">${number(bounds[tick] ?? 0)}${tick === last && last > 0 ? open : ''}</span>`;
  });
  const svg =
    `<svg viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" role="img" aria-label="${escape(label)}">` +
    `${bars.join('')}</svg>`;
  const caption =
    `${escape(label)}: mean ${number(mean)}, median ${number(median)}, ` +
    `95 % below ${number(p95)}, largest ${number(largest)}`;
  return (
    `<figure><div class="plot${line === '' ? '' : ' marked'}">${svg}${line}</div>` +
    `<div class="axis">${axis.join('')}</div>\n<figcaption>${caption}</figcaption></figure>`
  );
}

/** Shares as horizontal bars. */
function shares(rows: readonly (readonly [name: string, count: number])[], total: number, most = 12): string {
  const shown = rows.slice(0, most);
  const rest = rows.slice(most).reduce((sum, [, count]) => sum + count, 0);
  const all = rest > 0 ? [...shown, [`${rows.length - most} others`, rest] as const] : shown;
  const top = Math.max(1, ...all.map(([, count]) => count));
  const bars = all.map(([name, count]) => {
    const width = ((count / top) * 100).toFixed(1);
    const figures = `${number(count)} · ${percent(count / Math.max(1, total))}`;
    return `<span>${escape(name)}</span><i><em style="width:${width}%"></em></i><span class="count">${figures}</span>`;
  });
  return `<div class="shares">${bars.join('')}</div>`;
}

/** On narrow screens the cells of a row stand below one another, unless it is a table of figures. */
function table(head: readonly string[], rows: readonly (readonly string[])[], more = 0, figures = false): string {
  if (rows.length === 0) return '<p class="none">None.</p>';
  const body = rows.map((cells) => `<tr>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`).join('\n');
  const rest = more > 0 ? `<p class="none">and ${number(more)} more</p>` : '';
  const titles = head.map((cell) => `<th>${escape(cell)}</th>`).join('');
  return (
    `<div class="scroll"><table${figures ? '' : ' class="texts"'}><thead><tr>${titles}</tr></thead>` +
    `<tbody>${body}</tbody></table></div>${rest}`
  );
}

const section = (title: string, note: string, body: string): string =>
  `<section><h2>${escape(title)}</h2>${note === '' ? '' : `<p class="note">${escape(note)}</p>`}${body}</section>`;

function sample({ spans, tokens, supervisedTokens }: Inspection): string {
  const text = spans
    .map(({ text: part, state }) =>
      state === 'context' ? escape(part) : `<mark class="${state}">${escape(part)}</mark>`,
    )
    .join('');
  return (
    `<pre class="sample">${text}</pre><p class="note">${number(supervisedTokens)} of ${number(tokens)} tokens ` +
    'are learned</p>'
  );
}

function tokensSection({ tokens, conversations }: DataReport): string {
  if (!tokens)
    return section(
      'Tokens',
      'Give a model with --model to see lengths in tokens, what is learned and what is cut.',
      '',
    );
  const { lengths, supervised, total, maxLength, truncated, withoutTargets, supervision, inspections } = tokens;
  const without = Object.entries(withoutTargets).map(([cause, count]) => `${number(count)} by ${cause}`);
  const withoutCount = Object.values(withoutTargets).reduce((sum, count) => sum + count, 0);
  const warnings = supervisionWarnings(supervision);
  const tiles = [
    tile(number(total), 'tokens are kept'),
    tile(percent(supervised / Math.max(1, total)), 'of them are learned', supervised === 0 ? 'bad' : ''),
    tile(
      number(truncated),
      `of ${number(conversations)} are cut${maxLength === null ? '' : ` at ${number(maxLength)}`}`,
      truncated > conversations / 20 ? 'warn' : '',
    ),
    tile(
      number(withoutCount),
      `have nothing to learn${without.length === 0 ? '' : `: ${without.join(', ')}`}`,
      without.length > 0 ? 'warn' : '',
    ),
  ];
  const proof =
    warnings.length === 0
      ? `<p class="good">Every turn's end is learned, and serving sends what training shows ` +
        `(${number(supervision.prefixesChecked)} prompts compared).</p>`
      : warnings.map((warning) => `<p class="bad">${escape(warning)}</p>`).join('');
  const limit = maxLength === null ? undefined : { value: maxLength, label: `cut at ${number(maxLength)}` };
  return (
    section('Tokens', '', tileRow(tiles) + histogram(lengths, 'Tokens of a conversation', limit) + proof) +
    section(
      'What is learned',
      'The first samples as the model sees them. Marked text is learned; struck text is cut off.',
      inspections.map(sample).join(''),
    )
  );
}

function difficultySection({ losses, hardest }: NonNullable<DataReport['difficulty']>, conversations: number): string {
  const measured =
    losses.count < conversations ? `${number(losses.count)} conversations, drawn at random` : 'All conversations';
  const rows = hardest.map(({ origin, loss, preview }) => [
    `<b>${loss.toFixed(2)}</b>`,
    place(origin),
    escape(preview),
  ]);
  return section(
    'Difficulty',
    `Mean loss a learned token under the model: high where it is far from the answer. ${measured}.`,
    `${histogram(losses, 'Loss')}<h3>Hardest</h3>${table(['Loss', 'Where', 'Sample'], rows)}`,
  );
}

const suspectNames = {
  contradiction: 'other answer',
  'outlying-loss': 'outlying loss',
  inconsistent: 'inconsistent',
} as const;

const ruleNames: Readonly<Record<GateResult['rule'], string>> = {
  minConversations: 'conversations, at least',
  minMeanScore: 'mean score, at least',
  maxDuplicates: 'duplicates, at most',
  maxUnreadable: 'unreadable rows, at most',
  maxSuspects: 'suspects, at most',
  maxTruncated: 'cut conversations, at most',
  minSupervised: 'learned tokens, at least',
  minTopicBalance: 'balance of topics, at least',
};
/** Rules about shares in percent, others in numbers. */
const measured = (rule: GateResult['rule'], value: number): string =>
  rule === 'minConversations' || rule === 'minMeanScore' ? number(value) : percent(value);

/** The parts of a score, from 0 to 100. */
const partsOf = ({ completeness, conciseness, consistency }: SampleScore): string =>
  `<span class="parts">complete ${Math.round(100 * completeness)} · concise ${Math.round(100 * conciseness)} · ` +
  `consistent ${Math.round(100 * consistency)}</span>`;

/** Files by their names: whole paths stand at the top of the page. */
function withoutFolders(text: string, files: readonly string[]): string {
  return files.reduce((shown, file) => shown.replaceAll(file, file.split(/[/\\]/).at(-1) ?? file), text);
}

/** The report as one HTML page that needs nothing else: no script, no network. */
export function reportToHtml(report: DataReport, gate: readonly GateResult[] = []): string {
  const { conversations, duplicates, suspects, unreadable, scores, parts, diversity, topics } = report;
  const repeated = duplicates.exact + duplicates.near;
  const failed = gate.filter(({ passed }) => !passed).length;
  const tiles = [
    tile(number(conversations), 'conversations'),
    tile(number(report.messages), 'messages'),
    tile(number(Math.round(scores.mean)), 'mean score of 100', scores.mean < 70 ? 'warn' : 'fine'),
    tile(percent(repeated / Math.max(1, conversations)), 'duplicates', repeated > conversations / 20 ? 'warn' : 'fine'),
    tile(number(suspects.count), 'suspects', suspects.count > conversations / 20 ? 'warn' : 'fine'),
    tile(number(unreadable.count), 'unreadable rows', unreadable.count > 0 ? 'bad' : 'fine'),
  ];
  const files = report.files.map((file) => `<code>${escape(file)}</code>`).join(' ');
  const topicsFrom =
    topics.from === 'column'
      ? 'From a column of the data'
      : 'Found by clustering: each is named by the words that set it apart';
  const body = [
    `<header><h1>${escape(report.title)}</h1><p>${files}</p></header>`,
    tileRow(tiles),
    gate.length === 0
      ? ''
      : section(
          'Quality gate',
          failed === 0 ? 'The data keeps to every rule.' : `The data fails ${failed} of ${gate.length} rules.`,
          table(
            ['', 'Rule', 'Limit', 'Measured'],
            gate.map(({ rule, limit, value, passed }) => [
              passed ? '<span class="good">✓</span>' : '<span class="bad">✗</span>',
              escape(ruleNames[rule]),
              measured(rule, limit),
              measured(rule, value),
            ]),
            0,
            true,
          ),
        ),
    tokensSection(report),
    section(
      'Turns and lengths',
      '',
      histogram(report.turns, 'Turns of a conversation') + histogram(report.characters, 'Characters of a conversation'),
    ),
    section(
      'Languages',
      'By script and letters; short texts cannot always be told.',
      shares(Object.entries(report.languages), conversations),
    ),
    section(
      'Topics',
      `${topicsFrom}. Balance ${percent(topics.balance)}: 100 % would be equal shares.`,
      shares(
        topics.topics.map(({ name, conversations: count }) => [name, count] as const),
        conversations,
      ),
    ),
    section(
      'Diversity of the replies',
      'Distinct n-grams as a share of all: near 0 % where the same is said again and again.',
      tileRow([
        tile(number(diversity.vocabulary), 'different words'),
        tile(percent(diversity.distinct1), 'distinct words'),
        tile(percent(diversity.distinct2), 'distinct pairs'),
        tile(percent(diversity.distinct3), 'distinct triples'),
      ]),
    ),
    section(
      'Scores',
      'Rules of thumb that rank samples for a person to look at.',
      tileRow([
        tile(percent(parts.completeness), 'completeness'),
        tile(percent(parts.conciseness), 'conciseness'),
        tile(percent(parts.consistency), 'consistency'),
      ]) +
        histogram(scores, 'Score of a sample') +
        '\n<h3>Lowest scores</h3>' +
        table(
          ['Score', 'Where', 'Sample', 'Why'],
          report.worst.map(({ origin, score, preview: text }) => [
            `<b>${score.total}</b>`,
            place(origin),
            escape(text),
            [score.note === null ? '' : escape(score.note), partsOf(score)].filter((part) => part !== '').join('<br>'),
          ]),
        ),
    ),
    report.difficulty ? difficultySection(report.difficulty, conversations) : '',
    section(
      'Suspects',
      'Samples that may be labelled wrongly: look at them.',
      table(
        ['What', 'Where', 'Detail'],
        suspects.first.map(({ origin, reason, detail }) => [
          suspectNames[reason],
          place(origin),
          escape(withoutFolders(detail, report.files)),
        ]),
        suspects.count - suspects.first.length,
      ),
    ),
    section(
      'Duplicates',
      `${number(duplicates.exact)} repeat an earlier conversation, ${number(duplicates.near)} nearly.`,
      table(
        ['Where', 'Detail'],
        duplicates.first.map(({ origin, detail }) => [place(origin), escape(withoutFolders(detail, report.files))]),
        repeated - duplicates.first.length,
      ),
    ),
    unreadable.count === 0
      ? ''
      : section(
          'Rows that cannot be read',
          '',
          table(
            ['Where', 'Why'],
            unreadable.first.map(({ origin, reason }) => [place(origin), escape(reason)]),
            unreadable.count - unreadable.first.length,
          ),
        ),
    report.transforms.length === 0
      ? ''
      : section(
          'Transforms',
          '',
          table(
            ['Transform', 'In', 'Out', 'Removed', 'Changed'],
            report.transforms.map(({ name, conversationsIn, conversationsOut, removed, changed }) => [
              escape(name),
              number(conversationsIn),
              number(conversationsOut),
              ...[removed, changed].map((counts) =>
                Object.entries(counts)
                  .map(([reason, count]) => `${escape(reason)} ${number(count)}`)
                  .join('<br>'),
              ),
            ]),
          ),
        ),
  ];
  return `<!doctype html>
<html lang="en"><head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(report.title)}</title>
<style>${pageStyle}</style></head><body><main>
${body.join('\n')}
</main></body></html>
`;
}
