import { createRequire } from 'node:module';
import type { CountryCode } from 'libphonenumber-js';
import validator from 'validator';
import { maskOtherDigits } from './phone-zones.js';
import { PERSONAL_DATA_KINDS, type PersonalDataKind } from '../../choices.js';
import type { DetectOptions } from './options.js';

type PhoneLibrary = Pick<typeof import('libphonenumber-js'), 'findPhoneNumbersInText'>;

let loadedPhoneLibrary: PhoneLibrary | null = null;

/** Returns the bundle of libphonenumber-js (see `scripts/bundle-phone-numbers.mjs`), loaded at the first call. */
function phoneLibrary(): PhoneLibrary {
  loadedPhoneLibrary ??= createRequire(import.meta.url)('@whetstone/data/phone-numbers') as PhoneLibrary;
  return loadedPhoneLibrary;
}

/** Personal data in a text, from `start` to `end`. */
export interface Detection {
  readonly kind: PersonalDataKind;
  readonly start: number;
  readonly end: number;
}

type Detect = (text: string, options: DetectOptions) => Omit<Detection, 'kind'>[];

/** Returns the matches of a pattern that `confirm` accepts. If the pattern has a group, only the group is returned. */
function matches(
  text: string,
  pattern: RegExp,
  confirm: (found: string) => boolean = () => true,
): Omit<Detection, 'kind'>[] {
  return Array.from(text.matchAll(pattern)).flatMap((match) => {
    const group = match.slice(1).find((text) => text !== undefined);
    const found = group ?? match[0];
    const start = match.index + (group === undefined ? 0 : match[0].lastIndexOf(group));
    return confirm(found) ? [{ start, end: start + found.length }] : [];
  });
}

// All patterns exclude adjacent characters of the same kind, as a substring of a longer number is not a match.
const email: Detect = (text) =>
  matches(
    text,
    /(?<![\w.+-])[\w.+-]{1,64}(?:'[\w.+-]{1,32}){0,2}@(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}(?![\w-])/gi,
    (found) => validator.isEmail(found),
  );

const digits = (found: string): string => found.replace(/\D/g, '');

/** Detects 13 to 19 digits with a valid Luhn checksum and the prefix of a card network. */
const card: Detect = (text) =>
  matches(
    text,
    /(?<![\d.-])(?:\d[ -]?){12,18}\d(?![\d-])/g,
    (found) =>
      validator.isCreditCard(digits(found)) ||
      (/^(?:62|81)/.test(digits(found)) && validator.isLuhnNumber(digits(found))),
  );

const iban: Detect = (text) =>
  matches(text, /(?<![A-Z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}(?![A-Za-z0-9])/g, (found) =>
    validator.isIBAN(found.replaceAll(' ', '')),
  );

const chineseWeights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];

/**
 * Returns whether a text is a Chinese identity number: 18 characters with an existing date and a valid check character.
 * Source: GB 11643, ISO 7064 MOD 11-2.
 */
function isChineseIdentityNumber(text: string): boolean {
  const match = /^[1-9]\d{5}((?:18|19|20)\d{2})(\d{2})(\d{2})\d{3}[\dXx]$/.exec(text);
  if (!match) return false;
  const [year, month, day] = match.slice(1).map(Number) as [number, number, number];
  const date = new Date(Date.UTC(year, month - 1, day));
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return false;
  const sum = chineseWeights.reduce((total, weight, index) => total + weight * Number(text[index]), 0);
  return '10X98765432'[sum % 11] === text[17]?.toUpperCase();
}

/**
 * Returns whether a text is a US social security number. Areas 000, 666 and 9xx, group 00 and serial 0000 are invalid.
 */
const isSocialSecurityNumber = (found: string): boolean => /^(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}$/.test(found);

const nationalIds: Detect = (text) => [
  ...matches(text, /(?<![\dA-Za-z])[1-9]\d{16}[\dXx](?![\dA-Za-z])/g, isChineseIdentityNumber),
  ...matches(text, /(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])/g, isSocialSecurityNumber),
  ...(namesDocument.test(text) ? namedIds(text) : []),
];

const namesDocument = /dni|nie|documento|codice fiscale|cf|aadhaar|passport|护照/i;

/** Detects numbers of other countries that follow the name of the document, with their checks. */
const namedIds = (text: string): Omit<Detection, 'kind'>[] => [
  ...matches(text, /(?=[XYZ\d])(?<=\b(?:DNI|NIE|documento)\b\W{0,4})([XYZ]?\d{7,8}-?[A-Z])\b/gi, (found) =>
    validator.isIdentityCard(found.replace('-', '').toUpperCase(), 'ES'),
  ),
  ...matches(
    text,
    /(?=[A-Z]{6}\d)(?<=\b(?:codice fiscale|CF)\b\W{0,4})([A-Z]{6}\d\d[A-Z]\d\d[A-Z]\d{3}[A-Z])\b/gi,
    (found) => validator.isIdentityCard(found.toUpperCase(), 'IT'),
  ),
  ...matches(text, /(?=\d{4})(?<=\bAadhaar\b\D{0,12})(\d{4} ?\d{4} ?\d{4})\b/gi, (found) =>
    validator.isIdentityCard(found, 'IN'),
  ),
  ...matches(text, /(?=[A-Z]{1,2}\d{6})(?<=\bpassport\b(?: (?:number|no\.?))?(?: is)?\W{0,4})([A-Z]{1,2}\d{6,8})\b/gi),
  ...matches(text, /(?=[EGDSPHK][A-Z\d])(?<=护照(?:号码?)?(?:是|为)?[：:\s]{0,3})([EGDSPHK][A-Z]?\d{7,8})(?!\d)/gi),
];

const ip: Detect = (text) => [
  ...matches(text, /(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)/g, (found) => validator.isIP(found, 4)),
  ...matches(
    text,
    /(?<![0-9a-f:.])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![0-9a-f:]|\.\d)/gi,
    (found) => found.length > 6 && validator.isIP(found, 6),
  ),
];

const chineseMobile = /(?<![\d.])(?:(?:\+|00)?86[ -]?)?1[3-9]\d(?:[ -]?\d{4}){2}(?!\d)/g;
const chineseLandline = /(?<!\d)(?:0\d{2,3}[- ]?|（0\d{2,3}）|\(0\d{2,3}\))[2-8]\d{6,7}(?:[- 转]\d{1,4})?(?!\d)/g;

const phoneWord = /(?:phone|call|mobile|cell|tel|fax|whatsapp|电话|手机|致电|拨打|联系)[^\n.,;，。；]{0,20}$/i;

/**
 * Returns whether a number is written like a phone number: with a plus sign, or with at least 10 digits and separators.
 * Digits without separators count only after a word for a phone.
 */
function looksLikePhone(text: string, start: number, end: number): boolean {
  const found = text.slice(start, end);
  if (found.startsWith('+')) return true;
  if (digits(found).length < 10 || /^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}/.test(found)) return false;
  return /\D/.test(found) || phoneWord.test(text.slice(Math.max(0, start - 30), start));
}

/** Replaces ranges of a text by line breaks, so that the positions of all other characters do not change. */
function maskRanges(text: string, ranges: readonly Omit<Detection, 'kind'>[]): string {
  let result = '';
  let position = 0;
  for (const { start, end } of [...ranges].sort((a, b) => a.start - b.start)) {
    if (start < position) continue;
    result += text.slice(position, start) + '\n'.repeat(end - start);
    position = end;
  }
  return result + text.slice(position);
}

const phone: Detect = (text, { countries }) => {
  const chinese = [...matches(text, chineseMobile), ...matches(text, chineseLandline)];
  const zones = maskOtherDigits(chinese.length === 0 ? text : maskRanges(text, chinese));
  const international =
    zones === null
      ? []
      : (countries.length === 0 ? [undefined] : countries).flatMap((country) =>
          phoneLibrary()
            .findPhoneNumbersInText(zones, country === undefined ? {} : { defaultCountry: country as CountryCode })
            .filter(({ number, startsAt, endsAt }) => number.isValid() && looksLikePhone(text, startsAt, endsAt))
            .map(({ startsAt, endsAt }) => ({ start: startsAt, end: endsAt })),
        );
  return [...chinese, ...international];
};

// The name of a city or region, without the words before it ("住在", "地址是").
const placeName = '(?:(?![在住址是于为到从去往来的])\\p{Script=Han})';
const region = `(?:${placeName}{2,8}?(?:省|自治区|特别行政区))?`;
// Each group ends at the first word for a street or a quarter, so that there is only one way to match a text: ambiguous
// nested groups would take exponential time.
const quarter = '(?:路|街|大道|巷|胡同|弄|村|镇|小区|花园|新村)';
const beforeQuarter = `(?:(?!${quarter})[\\p{Script=Han}\\dA-Za-z])`;
const city = `${placeName}{2,6}?(?:市|州|盟|地区)`;
const district = '(?:[\\p{Script=Han}]{1,8}?(?:区|县|旗|市))?';
const streets = `[\\p{Script=Han}\\dA-Za-z]${beforeQuarter}{0,13}${quarter}(?:${beforeQuarter}{0,14}${quarter}){0,5}`;
const building = '(?:[\\dA-Za-z一二三四五六七八九十百]{1,6}(?:号楼|号院|号|弄|幢|栋|座|单元|楼|室|层|-)?)+';
const chineseAddress = new RegExp(region + city + district + streets + building, 'gu');

const streetKind =
  '(?:Street|St\\.?|Avenue|Ave\\.?|Road|Rd\\.?|Boulevard|Blvd\\.?|Lane|Ln\\.?|Drive|Dr\\.?|Court|Ct\\.?|' +
  'Square|Sq\\.?|Terrace|Way|Place|Pl\\.?|Highway|Hwy\\.?|Parkway)';
const houseNumber = '(?<![\\d.,])\\d{1,5}[A-Z]?';
const direction = '(?:\\s+(?:N|S|E|W|North|South|East|West)\\.?)?';
const street = `(?:\\s+[A-Z][\\w'’.-]*){1,4}?\\s+${streetKind}(?![a-z])`;
const quadrant = '(?:\\s+(?:[NS][EW]|[NSEW])\\b)?';
const unit = '(?:,?\\s+(?:Apt|Apartment|Suite|Unit|#)\\.?\\s*\\w{1,5})?';
const towns = "(?:,\\s*[A-Z][\\w'-]*(?: [A-Z][\\w'-]*){0,2}){0,2}";
const zipCode = ',?\\s+[A-Z]{2}\\s+\\d{5}(?:-\\d{4})?';
const britishPostcode = ',?\\s+[A-Z]{1,2}\\d[A-Z\\d]?\\s*\\d[A-Z]{2}';
const westernAddress = new RegExp(
  `${houseNumber}${direction}${street}${quadrant}${unit}${towns}(?:${zipCode}|${britishPostcode})?`,
  'g',
);

const europeanAddress =
  /\b\p{Lu}[\p{L}-]{2,24}(?:straße|strasse|str\.|weg|gasse|allee|platz) \d{1,4}[a-z]?(?:, \d{5} \p{Lu}[\p{L}-]+)?/gu;

const address: Detect = (text) => [
  ...matches(text, chineseAddress),
  ...matches(text, westernAddress),
  ...matches(text, europeanAddress),
];

const surnames =
  '王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤';
const chineseName = `(?:欧阳|司马|上官|诸葛|[${surnames}])[\\p{Script=Han}]{1,2}`;
const chineseIntroduction = '(?:我叫|我的名字是|我的名字叫|姓名|联系人|收件人|收货人|本人)(?:是|为)?[：:\\s]{0,3}';
const chineseNameEnd = '(?=$|[\\s，。,.！!？?；;、（(]|的|电话|手机|，)';
const chineseTitle = '(?=先生|女士|小姐|太太|经理|老师|同学)';
const chineseNames = new RegExp(
  `(?:${chineseIntroduction}(${chineseName})${chineseNameEnd})|(?<![\\p{Script=Han}])(${chineseName})${chineseTitle}`,
  'gu',
);
const capitalised = "[A-Z][a-z]+(?:[-'’][A-Z][a-z]+)?";
const introduction =
  '(?:[Mm]y (?:full )?name is|[Nn]ame(?: is)?:|[Tt]his is|[Cc]ontact|[Aa]ttn:?|[Ss]igned,?|[Rr]egards,|[Ss]incerely,)';
const title = '(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herr|Frau|Señor|Señora|Mme|M)';
const westernNames = new RegExp(
  [
    `(?:\\b${introduction}\\s+(${capitalised}(?:\\s+(?:[A-Z]\\.\\s*)?${capitalised}){1,2}))`,
    `(?:\\b${title}\\b\\.?\\s+(${capitalised}(?:\\s+${capitalised})?))`,
    `(?:\\b[Mm]y name is\\s+(${capitalised}))`,
  ].join('|'),
  'g',
);
const addressees = 'The|This|That|Customer|Support|Service|Team|Not|Our|Your|It|Contact|Sales|Help';
const weekdays = 'Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday';
const months = 'January|February|March|April|May|June|July|August|September|October|November|December';
/** Capitalized words that may follow "this is" but are not names. */
const noNames = new RegExp(`^(?:${addressees}|${weekdays}|${months})\\b`);

const name: Detect = (text) => [
  ...matches(text, chineseNames),
  ...matches(text, westernNames, (found) => !noNames.test(found)),
];

const detectors: Readonly<Record<PersonalDataKind, Detect>> = {
  email,
  'national-id': nationalIds,
  card,
  iban,
  ip,
  phone,
  address,
  name,
};

/** Necessary conditions for a detection, which exclude most texts quickly. */
const prefilters: Readonly<Partial<Record<PersonalDataKind, RegExp>>> = {
  email: /@/,
  card: /\d(?:[ -]?\d){12}/,
  iban: /[A-Z]{2}\d{2}/,
  'national-id': /\d{3}/,
  ip: /\d\.\d|:/,
  phone: /\d(?:\D{0,4}\d){6}/,
  address: /\d|[号楼室栋弄]/,
};

/** Returns the personal data in a text, from left to right, without overlaps. */
export function detectPersonalData(text: string, options: DetectOptions): Detection[] {
  const detections: Detection[] = [];
  let taken: Uint8Array | null = null;
  for (const kind of PERSONAL_DATA_KINDS) {
    if (!options.kinds.includes(kind) || prefilters[kind]?.test(text) === false) continue;
    const found = detectors[kind](text, options).sort((a, b) => b.end - b.start - (a.end - a.start));
    for (const { start, end } of found) {
      taken ??= new Uint8Array(text.length);
      if (taken.subarray(start, end).includes(1)) continue;
      taken.fill(1, start, end);
      detections.push({ kind, start, end });
    }
  }
  return detections.sort((a, b) => a.start - b.start);
}
