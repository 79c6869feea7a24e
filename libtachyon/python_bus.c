/* SPDX-License-Identifier: MIT */
/* Bus.send(), Bus.recv() and iteration, as CPython's built-in functions: see python.c. */
#include "python.h"

/* ---- sending ------------------------------------------------------------ */

static int send_bytes(struct tachyon_bus *bus, PyObject *bytes, uint32_t type_id) {
        Py_ssize_t size;
        char *data;

        python.PyBytes_AsStringAndSize(bytes, &data, &size);
        return tachyon_bus_send(bus, data, (size_t)size, type_id, 0);
}

/*
 * Anything else that has bytes: 0, or a negative errno. Where none can be had, the
 * slow way says why; but another exception is a signal handler's, perhaps, and is
 * raised: 1.
 */
static int send_buffer(struct tachyon_bus *bus, PyObject *object, uint32_t type_id) {
        Py_buffer buffer;
        int r = -EINVAL;

        if (python.PyObject_GetBuffer(object, &buffer, PyBUF_ND | PyBUF_FORMAT) < 0) {
                if (!python.PyErr_ExceptionMatches(python.the_no_buffer))
                        return 1;
                python.PyErr_Clear();
                return r;
        }
        if (likely(!buffer.format || !strchr(buffer.format, 'O'))) /* references to objects? */
                r = tachyon_bus_send(bus, buffer.buf, (size_t)buffer.len, type_id, 0);
        python.PyBuffer_Release(&buffer);
        return r;
}

static PyObject *bus_send(PyObject *self, PyObject *const args[], Py_ssize_t count, PyObject *names) {
        struct tachyon_bus *bus = ((struct python_end *)(void *)self)->bus;
        uint32_t type_id;
        int r;

        if (likely(bus && python_find_number(args, count, names, 1, 3, python.the_type_id, &type_id))) {
                r = likely(args[0]->ob_type == python.the_bytes) ? send_bytes(bus, args[0], type_id)
                                                                 : send_buffer(bus, args[0], type_id);
                if (likely(r == 0))
                        return python_none();
                if (r > 0)
                        return NULL;
        }
        return python_call(python.the_send, &self, 1, args, count, names);
}

/* ---- receiving ---------------------------------------------------------- */

static PyObject *make_message(const void *data, uint64_t size, uint32_t type_id) {
        struct python_message *message = (void *)python.PyType_GenericAlloc(python.the_Message, 0);

        if (unlikely(!message))
                return NULL;
        message->data = python.PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
        message->type_id = python.PyLong_FromUnsignedLongLong(type_id);
        if (likely(message->data && message->type_id))
                return &message->head;
        python.Py_DecRef(&message->head);
        return NULL;
}

/*
 * The next message; or NULL: there is none, and *errorp says why, or it could not
 * be made, and *errorp is 0. Then it is still the next one. No Python code runs in
 * here, so nobody else receives between the look and the end.
 */
static PyObject *take_message(struct tachyon_bus *bus, int *errorp) {
        const struct frame *frame;
        tachyon_message slow;
        PyObject *message;
        uint64_t size;

        frame = bus_look(bus, &size);
        if (unlikely(!frame))
                frame = bus_look_soon(bus, &size);
        *errorp = 0;
        if (likely(frame)) {
                message = make_message(frame->payload, size,
                                       atomic_load_explicit(&frame->type_id, memory_order_relaxed));
                if (likely(message))
                        bus_pass_soon(bus, frame, size);
                return message;
        }
        *errorp = -tachyon_bus_recv(bus, &slow, 0);
        if (*errorp)
                return NULL;
        message = make_message(slow.data, slow.size, slow.type_id);
        if (message)
                tachyon_bus_release(bus, slow.lease);
        else
                tachyon_bus_put_back(bus, &slow);
        return message;
}

static PyObject *bus_recv(PyObject *self, PyObject *const args[], Py_ssize_t count, PyObject *names) {
        struct tachyon_bus *bus = ((struct python_end *)(void *)self)->bus;
        PyObject *message;
        int error;

        if (unlikely(!bus || !python_is_timeout(count, names)))
                return python_call(python.the_recv, &self, 1, args, count, names);
        message = take_message(bus, &error);
        if (likely(message) || !error)
                return message;
        return python_call_later(python.the_recv_later, self, (unsigned)error, args, count, names);
}

static PyObject *bus_next(PyObject *self) {
        struct tachyon_bus *bus = ((struct python_end *)(void *)self)->bus;
        PyObject *message;
        int error;

        if (unlikely(!bus))
                return python_call_later(python.the_next_later, self, ECANCELED, NULL, 0, NULL);
        message = take_message(bus, &error);
        if (likely(message) || !error)
                return message;
        return python_call_later(python.the_next_later, self, (unsigned)error, NULL, 0, NULL);
}

PyMethodDef python_bus_methods[] = {
        { "send", bus_send, METH_FASTCALL | METH_KEYWORDS, NULL },
        { "recv", bus_recv, METH_FASTCALL | METH_KEYWORDS, NULL },
        { 0 },
};

const PyType_Slot python_bus_slots[] = {
        { Py_tp_iternext, { .function = (void (*)(void))bus_next } },
        { 0 },
};
