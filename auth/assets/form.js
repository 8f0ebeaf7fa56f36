// One form: what is typed goes to the API as JSON, what the API refuses is shown beside its field.
const form = document.querySelector('form'), button = form.querySelector('button'), status = document.querySelector('[role=status]')
const show = (text, good = false) => { status.textContent = text; status.classList.toggle('good', good) }
const countdown = (reason, left) => {
  button.disabled = left > 0
  show(left > 0 ? `${reason} - try again in ${left} s` : 'Try again now')
  if (left > 0) setTimeout(() => countdown(reason, left - 1), 1000)
}
const body = () => {
  const typed = [...new FormData(form)].filter(([, value]) => value !== '')
  return JSON.stringify({ ...Object.fromEntries(typed), ...('cookie' in form.dataset && { cookie: true }) })
}
const refused = async response => {
  const problem = await response.json().catch(() => ({}))
  const reason = problem.detail || problem.title || `refused (${response.status})`
  const field = form.elements[problem.field]
  field?.setAttribute('aria-invalid', 'true')
  field?.focus()
  const wait = parseInt(response.headers.get('retry-after'), 10)
  if (wait > 0) countdown(reason, wait); else show(reason)
}
form.addEventListener('submit', async event => {
  event.preventDefault()
  button.disabled = true
  show('')
  for (const field of form.elements) field.removeAttribute('aria-invalid')
  try {
    const headers = { 'content-type': 'application/json' }
    const response = await fetch(form.action, { method: 'POST', headers, body: body() })
    if (response.ok) { location.assign(form.dataset.next); return }
    button.disabled = false
    await refused(response)
  } catch {
    button.disabled = false
    show('The service cannot be reached. Try again.')
  }
})
// The part of an address behind `#` is sent to no server: a page before says what came of it, a mail hands a token over.
const said = { '#signed-up': 'You are signed up. Log in.', '#password-set': 'The password is set. Log in.' }[location.hash]
if (said) show(said, true)
else if (location.hash && form.elements.token) form.elements.token.value = decodeURIComponent(location.hash.slice(1))
if (location.hash) history.replaceState(null, '', location.pathname)
