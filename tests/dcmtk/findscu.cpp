// DCMTK's findscu with the information model as an argument: its own program has no option for UPS.
//
// findscu MODEL CALLING CALLED HOST PORT KEY...   prints each answer as dcmdump does
#include "dcmtk/config/osconfig.h"
#include "dcmtk/dcmdata/dctk.h"
#include "dcmtk/dcmnet/dfindscu.h"

#include <cstdlib>

class Printer : public DcmFindSCUCallback {
public:
  void callback(T_DIMSE_C_FindRQ *, int &, T_DIMSE_C_FindRSP *, DcmDataset *answer) override {
    answer->print(COUT, DCMTypes::PF_shortenLongTagValues);
  }
};

int main(int argc, char **argv) {
  if (argc < 6)
    return EXIT_FAILURE;
  OFList<OFString> keys;
  for (int i = 6; i < argc; ++i)
    keys.push_back(argv[i]);
  DcmFindSCU scu;
  Printer printer;
  OFCondition done = scu.initializeNetwork(30);
  if (done.good())
    done = scu.performQuery(argv[4], atoi(argv[5]), argv[2], argv[3], argv[1], EXS_Unknown, DIMSE_NONBLOCKING, 30,
                            ASC_DEFAULTMAXPDU, OFFalse, OFFalse, 1, FEM_none, -1, &keys, &printer);
  if (done.bad())
    CERR << done.text() << OFendl;
  return done.good() ? EXIT_SUCCESS : EXIT_FAILURE;
}
