import type { Origin } from '@whetstone/core/contract';
import { visibleText } from '@whetstone/core/util';
import type { Inspection } from '../proof/inspect.js';
import { supervisionWarnings } from '../proof/check.js';
import type { DataReport } from './data-report.js';
import { suspectRemedies, type GateResult } from './gate.js';
import type { Histogram } from './histogram.js';
import type { SampleScore } from './score.js';
import { pageStyle } from './style.js';

const escape = (text: string): string => text.replace(/[&<>"']/g, (mark) => `&#${mark.charCodeAt(0)};`);
const number = (value: number): string =>
  Number.isInteger(value) ? value.toLocaleString('en-US') : value.toLocaleString('en-US', { maximumFractionDigits: 2 });
const percent = (share: number): string => `${(share * 100).toLocaleString('en-US', { maximumFractionDigits: 1 })} %`;

/** Formats an origin with the name of its file; the complete path is in the tooltip. */
function originCell({ file, line, index }: Origin): string {
  const short =
    file === undefined ? `conversation ${index + 1}` : `${file.split(/[/\\]/).at(-1) ?? file}:${line ?? index + 1}`;
  return `<code title="${escape(file ?? '')}">${escape(short)}</code>`;
}

/** Formats a figure with a label. */
const tile = (value: string, label: string, tone = ''): string =>
  `<div class="tile ${tone}"><b>${value}</b><span>${escape(label)}</span></div>`;

const tileRow = (tiles: readonly string[]): string => `<div class="tiles">${tiles.join('')}</div>`;

/**
 * Renders a histogram as SVG bars with tooltips. `mark` draws a line at a value. Labels are HTML elements, as the SVG
 * is stretched to the width of the page.
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

/** Renders shares as horizontal bars. */
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

/** Renders a table. On narrow screens the cells of a row are stacked, unless `figures` is true. */
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

function sample({ stretches, tokens, supervisedTokens }: Inspection): string {
  const text = stretches
    .map(({ text: span, state }) =>
      state === 'context' ? escape(span) : `<mark class="${state}">${escape(span)}</mark>`,
    )
    .join('');
  return (
    `<pre class="sample">${text}</pre><p class="note">${number(supervisedTokens)} of ${number(tokens)} tokens ` +
    'are target tokens</p>'
  );
}

function tokensSection({ tokens, conversations }: DataReport): string {
  if (!tokens)
    return section(
      'Tokens',
      'Pass a model with --model to report lengths in tokens, target tokens and truncation.',
      '',
    );
  const { lengths, supervised, total, maxLength, truncated, withoutTargets, supervision, inspections } = tokens;
  const without = Object.entries(withoutTargets).map(([cause, count]) => `${number(count)} by ${cause}`);
  const withoutCount = Object.values(withoutTargets).reduce((sum, count) => sum + count, 0);
  const warnings = supervisionWarnings(supervision);
  const tiles = [
    tile(number(total), 'tokens after truncation'),
    tile(percent(supervised / Math.max(1, total)), 'of them are target tokens', supervised === 0 ? 'bad' : ''),
    tile(
      number(truncated),
      `of ${number(conversations)} are truncated${maxLength === null ? '' : ` to ${number(maxLength)}`}`,
      truncated > conversations / 20 ? 'warn' : '',
    ),
    tile(
      number(withoutCount),
      `have no target tokens${without.length === 0 ? '' : `: ${without.join(', ')}`}`,
      without.length > 0 ? 'warn' : '',
    ),
  ];
  const proof =
    warnings.length === 0
      ? '<p class="good">All turns have a stop token, and their prompts equal the training text ' +
        `(${number(supervision.prefixesChecked)} prompts compared).</p>`
      : warnings.map((warning) => `<p class="bad">${escape(warning)}</p>`).join('');
  const limit = maxLength === null ? undefined : { value: maxLength, label: `truncated at ${number(maxLength)}` };
  return (
    section('Tokens', '', tileRow(tiles) + histogram(lengths, 'Tokens of a conversation', limit) + proof) +
    section(
      'Target tokens',
      'The first samples as the model sees them. Target tokens are marked; truncated text is struck through.',
      inspections.map(sample).join(''),
    )
  );
}

function difficultySection({ losses, hardest }: NonNullable<DataReport['difficulty']>, conversations: number): string {
  const measured =
    losses.count < conversations ? `${number(losses.count)} conversations, drawn at random` : 'All conversations';
  const rows = hardest.map(({ origin, loss, preview }) => [
    `<b>${loss.toFixed(2)}</b>`,
    originCell(origin),
    escape(preview),
  ]);
  return section(
    'Difficulty',
    `Mean loss per target token under the model; a high loss means a difficult answer. ${measured}.`,
    `${histogram(losses, 'Loss')}<h3>Hardest</h3>${table(['Loss', 'Where', 'Sample'], rows)}`,
  );
}

const suspectNames = {
  contradiction: 'different answer',
  'outlying-loss': 'outlying loss',
  'role-order': 'order of roles',
  language: 'languages differ',
} as const;

const ruleNames: Readonly<Record<GateResult['rule'], string>> = {
  minConversations: 'conversations, at least',
  minMeanScore: 'mean score, at least',
  maxDuplicates: 'duplicates, at most',
  maxUnreadable: 'unreadable rows, at most',
  maxSuspects: 'suspects, at most',
  maxTruncated: 'truncated conversations, at most',
  minSupervised: 'target tokens, at least',
  minTopicBalance: 'balance of topics, at least',
};
/** Formats the value of a rule: shares in percent, others as numbers. */
const measured = (rule: GateResult['rule'], value: number): string =>
  rule === 'minConversations' || rule === 'minMeanScore' ? number(value) : percent(value);

/** Formats the components of a score, from 0 to 100. */
const componentsOf = ({ completeness, conciseness, consistency }: SampleScore): string =>
  `<span class="parts">complete ${Math.round(100 * completeness)} · concise ${Math.round(100 * conciseness)} · ` +
  `consistent ${Math.round(100 * consistency)}</span>`;

/** Shortens the paths in a text to file names, as the complete paths are at the top of the page. */
function withoutFolders(text: string, files: readonly string[]): string {
  return files.reduce((shown, file) => shown.replaceAll(file, file.split(/[/\\]/).at(-1) ?? file), text);
}

/** Renders the most important figures. */
function summaryTiles({ conversations, messages, duplicates, suspects, unreadable, scores }: DataReport): string {
  const repeated = duplicates.exact + duplicates.near;
  return tileRow([
    tile(number(conversations), 'conversations'),
    tile(number(messages), 'messages'),
    tile(number(Math.round(scores.mean)), 'mean score of 100', scores.mean < 70 ? 'warn' : 'fine'),
    tile(percent(repeated / Math.max(1, conversations)), 'duplicates', repeated > conversations / 20 ? 'warn' : 'fine'),
    tile(number(suspects.count), 'suspects', suspects.count > conversations / 20 ? 'warn' : 'fine'),
    tile(number(unreadable.count), 'unreadable rows', unreadable.count > 0 ? 'bad' : 'fine'),
  ]);
}

function gateSection(gate: readonly GateResult[]): string {
  if (gate.length === 0) return '';
  const failed = gate.filter(({ passed }) => !passed).length;
  const rows = gate.map(({ rule, limit, value, passed }) => [
    passed ? '<span class="good">✓</span>' : '<span class="bad">✗</span>',
    escape(ruleNames[rule]),
    measured(rule, limit),
    measured(rule, value),
  ]);
  return section(
    'Quality gate',
    failed === 0 ? 'The data satisfies every rule.' : `The data violates ${failed} of ${gate.length} rules.`,
    table(['', 'Rule', 'Limit', 'Measured'], rows, 0, true),
  );
}

const lengthsSection = ({ turns, characters }: DataReport): string =>
  section(
    'Turns and lengths',
    '',
    histogram(turns, 'Turns of a conversation') + histogram(characters, 'Characters of a conversation'),
  );

const languagesSection = ({ languages, conversations }: DataReport): string =>
  section(
    'Languages',
    'Detected by script and frequent words, without code; short and doubtful texts are unknown.',
    shares(Object.entries(languages), conversations),
  );

function topicsSection({ topics: { topics, from, balance }, conversations }: DataReport): string {
  const source =
    from === 'column' ? 'From a column of the data' : 'Found by clustering and named by their most distinctive words';
  const counts = topics.map(({ name, conversations: count }) => [name, count] as const);
  return section(
    'Topics',
    `${source}. Balance: ${percent(balance)} (100 % means equal shares).`,
    shares(counts, conversations),
  );
}

const diversitySection = ({ diversity }: DataReport): string =>
  section(
    'Diversity of the replies',
    'The share of distinct n-grams; it is near 0 % if replies are repetitive.',
    tileRow([
      tile(number(diversity.vocabulary), 'different words'),
      tile(percent(diversity.distinct1), 'distinct words'),
      tile(percent(diversity.distinct2), 'distinct pairs'),
      tile(percent(diversity.distinct3), 'distinct triples'),
    ]),
  );

function scoresSection({ scores, parts, worst }: DataReport): string {
  const components = tileRow([
    tile(percent(parts.completeness), 'completeness'),
    tile(percent(parts.conciseness), 'conciseness'),
    tile(percent(parts.consistency), 'consistency'),
  ]);
  const rows = worst.map(({ origin, score, preview }) => [
    `<b>${score.total}</b>`,
    originCell(origin),
    escape(preview),
    [score.note === null ? '' : escape(score.note), componentsOf(score)].filter((line) => line !== '').join('<br>'),
  ]);
  const lowest = `\n<h3>Lowest scores</h3>${table(['Score', 'Where', 'Sample', 'Why'], rows)}`;
  return section(
    'Scores',
    'Heuristics that rank samples for review.',
    components + histogram(scores, 'Score of a sample') + lowest,
  );
}

function suspectsSection({ suspects, files }: DataReport): string {
  const rows = suspects.first.map(({ origin, reason, detail, preview }) => [
    suspectNames[reason],
    originCell(origin),
    escape(preview),
    escape(withoutFolders(detail, files)),
  ]);
  const remedies = suspectRemedies(suspects.reasons).map((remedy) => `<p class="note">${escape(remedy)}</p>`);
  return section(
    'Suspects',
    'Samples that may have wrong labels and should be reviewed.',
    remedies.join('') + table(['What', 'Where', 'Sample', 'Detail'], rows, suspects.count - suspects.first.length),
  );
}

function duplicatesSection({ duplicates: { exact, near, first }, files }: DataReport): string {
  const rows = first.map(({ origin, detail, preview }) => [
    originCell(origin),
    escape(preview),
    escape(withoutFolders(detail, files)),
  ]);
  return section(
    'Duplicates',
    `${number(exact)} exact and ${number(near)} near duplicates of an earlier conversation.`,
    table(['Where', 'Sample', 'Detail'], rows, exact + near - first.length),
  );
}

function unreadableSection({ unreadable: { count, first } }: DataReport): string {
  if (count === 0) return '';
  const rows = first.map(({ origin, reason }) => [originCell(origin), escape(visibleText(reason))]);
  return section('Unreadable rows', '', table(['Where', 'Why'], rows, count - first.length));
}

function transformsSection({ transforms }: DataReport): string {
  if (transforms.length === 0) return '';
  const rows = transforms.map(({ name, conversationsIn, conversationsOut, removed, changed }) => [
    escape(name),
    number(conversationsIn),
    number(conversationsOut),
    ...[removed, changed].map((counts) =>
      Object.entries(counts)
        .map(([reason, count]) => `${escape(reason)} ${number(count)}`)
        .join('<br>'),
    ),
  ]);
  return section('Transforms', '', table(['Transform', 'In', 'Out', 'Removed', 'Changed'], rows));
}

/** Renders a report as one self-contained HTML page without scripts and network access. */
export function reportToHtml(report: DataReport, gate: readonly GateResult[] = []): string {
  const files = report.files.map((file) => `<code>${escape(file)}</code>`).join(' ');
  const body = [
    `<header><h1>${escape(report.title)}</h1><p>${files}</p></header>`,
    summaryTiles(report),
    gateSection(gate),
    tokensSection(report),
    lengthsSection(report),
    languagesSection(report),
    topicsSection(report),
    diversitySection(report),
    scoresSection(report),
    report.difficulty ? difficultySection(report.difficulty, report.conversations) : '',
    suspectsSection(report),
    duplicatesSection(report),
    unreadableSection(report),
    transformsSection(report),
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
