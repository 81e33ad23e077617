/* Stand-ins for the CPython 2.7 C API that the Python extension module leaves
 * undefined.  None of them is ever called when the module is used as a plain
 * libmesos: they only have to exist, and they abort by name if that is ever
 * wrong.  The launcher exports them (-rdynamic). */
#include <stdio.h>
#include <stdlib.h>

#define STUB(name)                                          \
  void *name(void) {                                        \
    fprintf(stderr, "real-mesos: python called: " #name "\n"); \
    abort();                                                \
  }

STUB(PyArg_ParseTuple)
STUB(PyDict_GetItemString)
STUB(PyErr_Format)
STUB(PyErr_Occurred)
STUB(PyErr_Print)
STUB(PyEval_InitThreads)
STUB(PyEval_RestoreThread)
STUB(PyEval_SaveThread)
STUB(PyGILState_Ensure)
STUB(PyGILState_Release)
STUB(PyImport_ImportModule)
STUB(PyInt_FromLong)
STUB(PyIter_Next)
STUB(PyList_GetItem)
STUB(PyList_New)
STUB(PyList_SetItem)
STUB(PyList_Size)
STUB(PyModule_AddObject)
STUB(PyModule_GetDict)
STUB(PyObject_CallMethod)
STUB(PyObject_GetIter)
STUB(PyString_AsStringAndSize)
STUB(PyType_Ready)
STUB(Py_InitModule4_64)

void *PyExc_Exception, *PyExc_TypeError;
char _Py_NoneStruct[256];
