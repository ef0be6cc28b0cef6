// Building elements. Whatever comes from the server goes in as text: there is no way here to give markup as a string,
// and neither inline handlers nor inline styles can be set, which the page's content policy would refuse as well.

const SVG = 'http://www.w3.org/2000/svg';
let ids = 0;

/** An id that no other element of the page has. */
export function freshId(prefix) {
  ids += 1;
  return `${prefix}-${ids}`;
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'on') {
      for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    } else if (name === 'value' || name === 'checked' || name === 'selected') {
      element[name] = value;
    } else if (/^(on|style$|srcdoc$)/.test(name)) {
      throw new Error(`${name} is not set from here`);
    } else {
      element.setAttribute(name, value === true ? '' : String(value));
    }
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An HTML element. Attributes that are null or false are left out; `on` holds listeners; children are elements or text. */
export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** An SVG element. */
export function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** A link within the page. */
export function link(href, ...children) {
  return h('a', { href }, ...children);
}

/** A button that cannot be pressed again until what it does has ended. */
export function button(label, action, attributes = {}) {
  const element = h('button', { type: 'button', ...attributes }, label);
  element.addEventListener('click', () => busy(element, action));
  return element;
}

/** Runs an action once at a time for this button, which stays focusable meanwhile. */
export async function busy(element, action) {
  if (element.getAttribute('aria-disabled') === 'true') return;
  element.setAttribute('aria-disabled', 'true');
  try {
    await action();
  } finally {
    element.removeAttribute('aria-disabled');
  }
}

/** A control with its label above it, and where given a hint below that is read with it. */
export function field(label, control, hint) {
  control.id ||= freshId('field');
  const below = hint ? h('small', { id: `${control.id}-hint`, class: 'hint' }, hint) : null;
  if (below) control.setAttribute('aria-describedby', below.id);
  return h('div', { class: 'field' }, h('label', { for: control.id }, label), control, below);
}

/** A checkbox with its label beside it. */
export function tick(label, attributes, hint) {
  const control = h('input', { type: 'checkbox', id: freshId('field'), ...attributes });
  const below = hint ? h('small', { id: `${control.id}-hint`, class: 'hint' }, hint) : null;
  if (below) control.setAttribute('aria-describedby', below.id);
  const element = h('div', { class: 'field tick' }, control, h('label', { for: control.id }, label), below);
  return { element, control };
}

/** A list to choose from; `options` are pairs of value and words. */
export function choice(options, selected, attributes) {
  const list = options.map(([value, words]) => h('option', { value, selected: value === selected }, words));
  return h('select', attributes, list);
}

/** Terms and what they are; pairs whose second is null are left out. A third that is true takes the whole width. */
export function facts(...pairs) {
  const shown = pairs.filter(([, what]) => what !== null && what !== undefined && what !== '');
  return h('dl', { class: 'facts' }, shown.map(([term, what, whole]) => h('div', { class: whole ? 'whole' : null }, h('dt', null, term), h('dd', null, what))));
}

/** A table that scrolls within itself where it is too wide. `columns` are names, a leading `>` aligns numbers. */
export function table(caption, columns, rows) {
  const numeric = columns.map((name) => name.startsWith('>'));
  const names = columns.map((name) => name.replace(/^>/, ''));
  const head = names.map((name, index) => h('th', { scope: 'col', class: numeric[index] ? 'number' : null }, name));
  const cell = (content, index) => {
    const attributes = { class: numeric[index] ? 'number' : null, 'data-label': names[index] };
    return index === 0 ? h('th', { scope: 'row', ...attributes }, content) : h('td', attributes, content);
  };
  const body = rows.map((row) => h('tr', null, row.map(cell)));
  return h('div', { class: 'scroll' },
    h('table', null, h('caption', { class: 'unseen' }, caption), h('thead', null, h('tr', null, head)), h('tbody', null, body)));
}

/** Says something to those who listen rather than look. */
export function announce(text) {
  const region = document.getElementById('announce');
  if (region.textContent !== text) region.textContent = text;
}

/** Asks before something that cannot be taken back; resolves to whether it was agreed to. */
export function confirmed(title, text, agree) {
  return new Promise((resolve) => {
    const heading = h('h2', { id: freshId('dialog') }, title);
    const dialog = h('dialog', { 'aria-labelledby': heading.id }, heading, h('p', null, text),
      h('form', { method: 'dialog', class: 'actions' },
        h('button', { value: 'no', autofocus: true }, 'Leave it'),
        h('button', { value: 'yes', class: 'danger' }, agree)));
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
