// Paths of znodes on their way to the server. A path need not be text: then the server escapes what it shows and sends the
// exact bytes as well. So a path travels, in requests and in the address, as the percent-encoding of its bytes ("wire").

/** The wire form of a znode that the server described. */
export function wireOf(node) {
  return node.path_base64 ? encodeBytes(atob(node.path_base64)) : encodeURIComponent(node.path);
}

function encodeBytes(binary) {
  const escape = (c) => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
  return binary.replace(/[^A-Za-z0-9_.~-]/g, escape);
}

/** The wire form of a path that a person typed. */
export function wireOfTyped(text) {
  const path = `/${text.trim()}`.replace(/\/+/g, '/');
  return encodeURIComponent(path.length > 1 ? path.replace(/\/$/, '') : path);
}

/** The path as text; what is no UTF-8 stays percent-encoded. */
export function shown(wire) {
  try {
    return decodeURIComponent(wire);
  } catch {
    return wire.replace(/%2F/gi, '/');
  }
}

/** The parts of a path from the root on, each as name and wire form: `/`, `/a`, `/a/b`. */
export function ancestry(wire) {
  const parts = wire.split(/%2F|\//i).filter((part) => part !== '');
  const all = [{ name: '/', wire: '%2F' }];
  parts.forEach((part, index) => {
    all.push({ name: shown(part), wire: `%2F${parts.slice(0, index + 1).join('%2F')}` });
  });
  return all;
}

/** The last name of a path that the server described. */
export function nameOf(node) {
  return node.path === '/' ? '/' : node.path.slice(node.path.lastIndexOf('/') + 1);
}
