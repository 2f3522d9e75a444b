import { expect, test } from 'vitest';
import { collect } from '../../testing/files.js';
import { sourceOf } from '../../testing/sources.js';
import { applyTransforms } from '../apply.js';
import { detectPersonalData } from './detectors.js';
import { createRedactTransform, defaultRedactOptions, redactText } from './plugin.js';

/**
 * A labelled set: personal data in ⟦kind:…⟧, and look-alikes without marks. Numbers that need a check digit have a right one where they are marked
 * (computed by hand or the well-known test numbers of the networks) and a wrong one where they are not.
 */
const labelled = [
  'Write to ⟦email:jane.doe+news@example.co.uk⟧, please.',
  '请发邮件到⟦email:zhang_wei@example.cn⟧，谢谢。',
  'The handle @jane is no address, nor is jane@localhost.',
  'My card is ⟦card:4111 1111 1111 1111⟧ and it expires in May.',
  'Amex: ⟦card:3782-822463-10005⟧.',
  '银联卡号⟦card:6222021234567890128⟧丢了',
  'Order 4111 1111 1111 1112 is on its way.',
  'Transfer to ⟦iban:DE89 3704 0044 0532 0130 00⟧ today.',
  'IBAN ⟦iban:GB82WEST12345698765432⟧',
  'Code DE00 3704 0044 0532 0130 00 is invalid.',
  '身份证号：⟦national-id:11010519491231002X⟧。',
  '我的身份证是⟦national-id:440524188001010014⟧吗？',
  '证件 110105194912310021 写错了。',
  'SSN: ⟦national-id:219-09-9999⟧',
  'Part number 000-12-3456 and version 666-12-1234.',
  'Server at ⟦ip:192.168.10.254⟧ is down; also ⟦ip:2001:db8::ff00:42:8329⟧.',
  'Version 1.2.3.400 and the time 12:30:45 are no addresses.',
  '打我电话⟦phone:13812345678⟧或者⟦phone:+86 139-1234-5678⟧。',
  '客服热线⟦phone:010-62345678⟧，分机另告。',
  'Call ⟦phone:(212) 736-5000⟧ or ⟦phone:+44 20 7946 0958⟧.',
  'My mobile is ⟦phone:2127365000⟧; the parcel 2127365000 is not.',
  '订单号20231234567890123456已发货，共12345678901件。',
  'It costs 1,234,567.89 dollars since 2023-10-11 at 10:00.',
  '我叫⟦name:李小明⟧，住在⟦address:北京市海淀区中关村大街27号⟧。',
  '收件人：⟦name:欧阳娜娜⟧，地址：⟦address:广东省深圳市南山区科技园路8号3栋502室⟧',
  '⟦name:王建国⟧先生您好，您的包裹到了。',
  '王国先进的技术很好，我叫不出名字。',
  'My name is ⟦name:John Smith⟧ and I live at ⟦address:221B Baker Street, London⟧.',
  'Dear Mrs. ⟦name:Robinson⟧, your parcel waits.',
  'Ich wohne in der ⟦address:Hauptstraße 12, 10115 Berlin⟧.',
  'This is Customer Support. The Main Street is closed.',
  '我在人民广场附近的市场买了3斤苹果。',
  'There were 3 Good Ways to do it, and 5 people left.',
];

interface Labelled {
  readonly text: string;
  readonly spans: readonly string[];
}

function parse(marked: string): Labelled {
  let text = '';
  const spans: string[] = [];
  let position = 0;
  for (const match of marked.matchAll(/⟦([a-z-]+):([^⟧]+)⟧/g)) {
    text += marked.slice(position, match.index);
    spans.push(`${match[1]} ${text.length}-${text.length + (match[2] ?? '').length}`);
    text += match[2];
    position = match.index + match[0].length;
  }
  return { text: text + marked.slice(position), spans };
}

test('precision and recall on the labelled set', () => {
  const wrong: string[] = [];
  let right = 0;
  let expected = 0;
  let found = 0;
  for (const marked of labelled) {
    const { text, spans } = parse(marked);
    const detected = detectPersonalData(text, defaultRedactOptions).map(({ kind, start, end }) => `${kind} ${start}-${end}`);
    right += detected.filter((span) => spans.includes(span)).length;
    expected += spans.length;
    found += detected.length;
    if (detected.join() !== spans.join()) wrong.push(`${marked} → ${detectPersonalData(text, defaultRedactOptions).map(({ kind, start, end }) => `${kind}:${text.slice(start, end)}`).join(' | ')}`);
  }
  expect(wrong).toEqual([]);
  expect(right / found).toBeGreaterThan(0.95);
  expect(right / expected).toBeGreaterThan(0.95);
});

test('the same value has the same placeholder throughout a conversation', async () => {
  const transform = createRedactTransform();
  const source = applyTransforms(
    sourceOf([
      {
        form: 'chat',
        messages: [
          { role: 'user', content: 'Call 13812345678 or 13912345678' },
          { role: 'assistant', content: 'I will call 138 1234 5678 and write to a@example.com.' },
        ],
      },
    ]),
    [transform],
  );
  const [conversation] = await collect(source.conversations());
  expect(conversation?.messages.map(({ content }) => content)).toEqual(['Call [PHONE_1] or [PHONE_2]', 'I will call [PHONE_1] and write to [EMAIL_1].']);
  expect(transform.report).toMatchObject({ conversationsIn: 1, conversationsOut: 1, changed: { phone: 3, email: 1 } });
});

test('or the conversation is taken out, with the reason', async () => {
  const transform = createRedactTransform({ action: 'drop' });
  const source = applyTransforms(sourceOf([{ form: 'text', messages: [{ role: 'assistant', content: 'a@example.com' }] }]), [transform]);
  expect(await collect(source.conversations())).toEqual([]);
  expect(transform.report.removals).toEqual([{ origin: { file: 'memory.jsonl', line: 1, index: 0 }, reason: 'personal-data', detail: 'holds email' }]);
});

test('redacting twice changes nothing more', () => {
  for (const marked of labelled) {
    const once = redactText(parse(marked).text, defaultRedactOptions);
    expect(redactText(once, defaultRedactOptions)).toBe(once);
  }
});

/** What texts that are not prose are made of: tables of numbers, lists, and what patterns could read in many ways. */
const units = ['1 ', '12 ', '12.50 3 ', '1.', '1-', '(1) ', '+1 ', '192.168.1.1 ', '1:', '9', 'a@', 'DE89 ', '1 A ', '街路', '市区街路', '李先生', 'Mr. Ab ', '13812345678 '];

test.each(units)('takes time in proportion to the length, whatever the text: %j', (unit) => {
  const seconds = (characters: number): number => {
    const begun = performance.now();
    redactText(`北京市${unit.repeat(Math.ceil(characters / unit.length))}号`, defaultRedactOptions);
    return (performance.now() - begun) / 1000;
  };
  seconds(1000);
  // A few microseconds a character; libphonenumber alone takes 20 and more for lone digits, and nested choices took minutes for a line.
  expect(Math.min(seconds(100_000), seconds(100_000))).toBeLessThan(1.5);
});

test('phone numbers within tables of numbers are found, and extensions are part of them', () => {
  const found = (text: string): string[] => detectPersonalData(text, { kinds: ['phone'], countries: ['US', 'GB'] }).map(({ start, end }) => text.slice(start, end));
  const numbers = '1 2 3 4 5 6 7 8 9 10 '.repeat(30);
  expect(found(`${numbers}(212) 736-5000 ${numbers}`)).toEqual(['(212) 736-5000']);
  expect(found(`${numbers}212-736-5000 ${numbers}/ +44 20 7946 0958`)).toEqual(['212-736-5000', '+44 20 7946 0958']);
  expect(found('Dial (212) 736-5000 ext. 123, please')).toEqual(['(212) 736-5000 ext. 123']);
  expect(found('12.50 3.75 8.00 99.95 '.repeat(200))).toEqual([]);
});

test('addresses with several streets and quarters, and words for streets in a row', () => {
  const found = (text: string): string[] => detectPersonalData(text, { kinds: ['address'], countries: [] }).map(({ start, end }) => text.slice(start, end));
  expect(found('他住在江苏省苏州市吴中区木渎镇金山路街道花园新村12幢301室。')).toEqual(['江苏省苏州市吴中区木渎镇金山路街道花园新村12幢301室']);
  expect(found(`北京市${'街路'.repeat(22)}号`)).toEqual([]);
});
