/** A unit: quantities of one dimension can be compared after multiplication with their factors. */
interface Unit {
  readonly dimension: string;
  readonly factor: number;
}

/** A number with its unit, if it has one. */
export interface Quantity {
  readonly value: number;
  readonly unit: Unit | null;
}

/** Units by dimension: each factor with the English and Chinese names of its unit. */
const dimensions: Readonly<Record<string, readonly (readonly [factor: number, names: string])[]>> = {
  length: [
    [1e-3, 'mm millimeter millimetre 毫米'],
    [1e-2, 'cm centimeter centimetre 厘米'],
    [1, 'm meter metre 米'],
    [1e3, 'km kilometer kilometre 千米 公里'],
    [0.0254, 'inch inches'],
    [0.3048, 'ft foot feet'],
    [1609.344, 'mile'],
  ],
  mass: [
    [1e-3, 'mg milligram 毫克'],
    [1, 'g gram 克'],
    [1e3, 'kg kilogram 千克 公斤'],
    [500, '斤'],
    [1e6, 't ton tonne 吨'],
    [453.59237, 'lb pound'],
  ],
  time: [
    [1e-3, 'ms millisecond 毫秒'],
    [1, 's sec second 秒'],
    [60, 'min minute 分钟'],
    [3600, 'h hour 小时'],
    [86_400, 'day 天 日'],
    [604_800, 'week 周'],
  ],
  volume: [
    [1e-3, 'ml milliliter millilitre 毫升'],
    [1, 'l liter litre 升'],
  ],
  share: [
    [0.01, '% percent'],
    [1e-3, '‰'],
  ],
  yuan: [[1, '¥ yuan rmb cny 元 块']],
  dollar: [
    [1, '$ usd dollar 美元'],
    [0.01, 'cent'],
  ],
  euro: [[1, '€ eur euro 欧元']],
};

const units = new Map(
  Object.entries(dimensions).flatMap(([dimension, all]) =>
    all.flatMap(([factor, names]) =>
      names.split(' ').map((name): readonly [string, Unit] => [name, { dimension, factor }]),
    ),
  ),
);

/** Returns the unit of this name, in the singular or the plural. */
const unitOf = (name: string): Unit | null =>
  units.get(name) ?? units.get(name.toLowerCase()) ?? units.get(name.toLowerCase().replace(/s$/, '')) ?? null;

/** Words that multiply the number before them. */
const multipliers = new Map([
  ['百', 1e2],
  ['千', 1e3],
  ['万', 1e4],
  ['亿', 1e8],
  ['thousand', 1e3],
  ['million', 1e6],
  ['billion', 1e9],
  ['trillion', 1e12],
]);

const DIGITS = '〇一二三四五六七八九';
const digitOf = (character: string): number =>
  character === '零' ? 0 : character === '两' ? 2 : DIGITS.indexOf(character);

/** Returns the value of a Chinese numeral such as 三千零五十 or 一点五; null if it is none. */
function chineseNumber(text: string): number | null {
  const [whole = '', decimals] = text.split('点');
  if (whole === '' || decimals === '') return null;
  // Digits alone are read one by one: 二〇二四.
  if ([...whole].every((character) => digitOf(character) >= 0)) {
    const digits = [...whole].map(digitOf).join('');
    return Number(decimals === undefined ? digits : `${digits}.${[...decimals].map(digitOf).join('')}`);
  }
  let [total, section, digit] = [0, 0, 0];
  for (const character of whole) {
    const power = { 十: 10, 百: 100, 千: 1000 }[character];
    if (power !== undefined) {
      section += (digit === 0 ? 1 : digit) * power;
      digit = 0;
    } else if (character === '万' || character === '亿') {
      total = (total + section + digit) * (character === '万' ? 1e4 : 1e8);
      [section, digit] = [0, 0];
    } else digit = digitOf(character);
  }
  const value = total + section + digit;
  return decimals === undefined ? value : value + Number(`0.${[...decimals].map(digitOf).join('')}`);
}

/** The Chinese names of units, the longest first. */
const chineseUnits = [...units.keys()]
  .filter((name) => /\p{Script=Han}/u.test(name))
  .toSorted((a, b) => b.length - a.length)
  .join('|');

/** The parts of a quantity, each in a group of its own: currency, digits, Chinese numeral, multiplier, unit. */
const QUANTITY_PARTS = [
  '([$¥€])?\\s?(?:',
  '((?<![\\d.])[-−+]?(?:\\d{1,3}(?:,\\d{3})+(?!\\d)|\\d+)(?:\\.\\d+)?(?:[eE][-+]?\\d{1,3})?(?:\\s?/\\s?\\d+)?)',
  '|([零〇一二两三四五六七八九十百千万亿]{1,30}(?:点[零〇一二三四五六七八九]{1,20})?)',
  ')\\s?(百|千(?!米|克)|万|亿|thousand|million|billion|trillion)?',
  `\\s?([%‰$€¥]|[A-Za-z]{1,12}|${chineseUnits})?`,
];
const QUANTITY = new RegExp(QUANTITY_PARTS.join(''), 'gu');

/** Returns the quantity of a match of {@link QUANTITY}; null if it is none. */
function quantityOf([, currency, digits, numeral, multiplier, name]: readonly (string | undefined)[]): Quantity | null {
  const value = digits === undefined ? chineseNumber(numeral ?? '') : valueOf(digits);
  if (value === null || !Number.isFinite(value)) return null;
  const written = name === undefined ? null : unitOf(name);
  const unit = currency === undefined ? written : unitOf(currency);
  return { value: value * (multipliers.get(multiplier?.toLowerCase() ?? '') ?? 1), unit };
}

/** Returns the value of a number or fraction in digits. */
function valueOf(text: string): number {
  const [above = NaN, below = 1] = text.replaceAll(',', '').replaceAll('−', '-').split('/').map(Number);
  return above / below;
}

/**
 * Returns a number in a text with its unit; null if there is none.
 *
 * @param which `last`: the last number, because replies derive an answer before they give it; `whole`: the number that
 *   is all of the text, except for a unit
 */
export function numberIn(text: string, which: 'last' | 'whole'): Quantity | null {
  const trimmed = text.trim().replace(/[.。]$/, '');
  const matches = [...trimmed.matchAll(QUANTITY)];
  if (which === 'last') {
    const inDigits = matches.filter((match) => match[2] !== undefined);
    // Numerals are part of many Chinese words, so that digits come first.
    return (inDigits.length > 0 ? inDigits : matches).flatMap((match) => quantityOf(match) ?? []).at(-1) ?? null;
  }
  const [match] = matches;
  if (match === undefined || match[0].length !== trimmed.length) return null;
  const found = quantityOf(match);
  return match[5] !== undefined && found?.unit === null ? null : found;
}
